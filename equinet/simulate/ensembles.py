"""Which ensemble dynamics sample, and with what constants; one description for one structure and for ten thousand."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms

from equinet.errors import InputError, is_number

EnsembleName = Literal["nve", "nvt", "npt"]
ThermostatName = Literal["langevin", "bussi", "nose-hoover"]
BarostatName = Literal["isotropic", "flexible"]
ENSEMBLES = ("nve", "nvt", "npt")
THERMOSTATS = ("langevin", "bussi", "nose-hoover")
BAROSTATS = ("isotropic", "flexible")
MOST_DAMPED = 1.0
"""Friction times time step, beyond which Langevin dynamics are none: ASE's integrator diverges."""


@dataclass(frozen=True)
class Ensemble:
    """What is held constant, and how.

    Attributes:
        name: "nve" (velocity Verlet), "nvt" (a thermostat too), "npt" (a thermostat, and stochastic cell rescaling
            too).
        timestep: fs.
        temperature: K, of the Maxwell-Boltzmann start and of the bath. None (nve only): go on with the velocities the
            atoms have.
        thermostat: "langevin" (every atom coupled, the centre of mass too), "bussi" (stochastic velocity rescaling) or
            "nose-hoover" (a chain of three; deterministic).
        friction: of the Langevin bath, 1/fs.
        thermostat_time: of the other thermostats, fs.
        pressure: GPa, of npt.
        barostat: "isotropic" (the volume alone changes) or "flexible" (lengths and angles of the cell; for solids).
        barostat_time: in which the volume relaxes, fs.
        compressibility: 1/GPa; sets, with barostat_time, how fast the volume moves, not how far it fluctuates. None:
            measured at the start, for each structure.
        barostat_interval: steps between changes of the volume; each costs an evaluation.
        seed: of velocities and baths.

    Raises:
        InputError: numbers that make no sense; a thermostat without a temperature above 0 K; a friction that stops
            the atoms within a step.
    """

    name: EnsembleName = "nve"
    timestep: float = 1.0
    temperature: float | None = None
    thermostat: ThermostatName = "langevin"
    friction: float = 0.01
    thermostat_time: float = 100.0
    pressure: float = 0.0
    barostat: BarostatName = "isotropic"
    barostat_time: float = 1000.0
    compressibility: float | None = None
    barostat_interval: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in ENSEMBLES:
            raise InputError(f"unknown ensemble {self.name!r}; there are {', '.join(ENSEMBLES)}")
        if self.thermostat not in THERMOSTATS:
            raise InputError(f"unknown thermostat {self.thermostat!r}; there are {', '.join(THERMOSTATS)}")
        if self.barostat not in BAROSTATS:
            raise InputError(f"unknown barostat {self.barostat!r}; there are {', '.join(BAROSTATS)}")
        temperature = self.temperature
        if temperature is not None and not (is_number(temperature) and temperature >= 0):
            raise InputError(f"a temperature of {temperature!r} K makes no sense; give 0 or more")
        if self.name != "nve" and (temperature is None or not temperature > 0):
            raise InputError(
                f"{self.name} needs a temperature above 0 K: a thermostat at 0 K would only brake; to come to "
                "rest, relax"
            )
        positive = {
            "time step": self.timestep,
            "friction": self.friction,
            "thermostat time": self.thermostat_time,
            "barostat time": self.barostat_time,
            "compressibility": 1.0 if self.compressibility is None else self.compressibility,
        }
        for what, value in positive.items():
            if not (is_number(value) and value > 0):
                raise InputError(f"a {what} of {value!r} makes no sense; give a number above 0")
        if self.bath == "langevin" and self.friction * self.timestep > MOST_DAMPED:
            raise InputError(
                f"a friction of {self.friction:g} 1/fs stops the atoms within a step of {self.timestep:g} fs; it is in "
                "1/fs, and 0.01 is usual"
            )
        if not is_number(self.pressure):
            raise InputError(f"a pressure of {self.pressure!r} GPa makes no sense; give a number")
        if self.barostat_interval < 1:
            raise InputError(f"a barostat interval of {self.barostat_interval} makes no sense; give 1 or more")

    @property
    def bath(self) -> ThermostatName | None:
        """The thermostat that acts, if one does."""
        return None if self.name == "nve" else self.thermostat

    def check(self, atoms: Atoms) -> None:
        """Say what keeps a structure from being in this ensemble.

        Raises:
            InputError: it has no volume, or fixed atoms, and the pressure is to be constant; no velocities, and there
                is no temperature to draw them from.
        """
        if self.name == "npt":
            if not (atoms.pbc.all() and atoms.cell.rank == 3):
                raise InputError(
                    f"npt needs three periodic directions, the structure has {atoms.pbc.tolist()}; run nvt"
                )
            if atoms.constraints:
                raise InputError(
                    "npt cannot keep atoms fixed while the cell changes; remove the constraints, or run nvt"
                )
        if self.temperature is None and not np.any(atoms.get_momenta()):
            raise InputError("the structure has no velocities; give a temperature to draw them from")

    def settings(self) -> dict[str, Any]:
        """All of it, as JSON has it: what must be the same for a run to go on."""
        return asdict(self)
