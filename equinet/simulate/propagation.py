"""Time steps in an ensemble: an engine, its baths, and what makes a step nonsense; for one system and for many."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.barostat import CellRescaling, ShapeRescaling
from equinet.simulate.engine import Engine, State
from equinet.simulate.ensembles import Ensemble
from equinet.simulate.thermostats import Bussi, NoseHooverChain, Thermostat
from equinet.simulate.velocities import FreedomCounter, degrees_of_freedom
from equinet.units import EV_PER_A3_IN_GPA

Array = NDArray[np.float64]

HOTTEST = 1e4
"""Temperature that ends a run, K (ten times the temperature asked for, where that is more)."""
VOLUMES = (0.4, 4.0)
"""Volume that ends a run, in volumes of the start: the cell has collapsed, or the atoms have flown apart."""
NAMED = 3
"""Atoms that are named at most, of those with which dynamics explode."""
NARROWEST = 0.5
"""Height of a cell that ends a run, in heights of the start: a liquid has no shape, and shears without end."""
_STRETCH = 5e-3  # of lengths, either way, when the compressibility is measured
_STIFF, _SOFT = 1e-3, 1.0  # bounds of a compressibility that is measured, 1/GPa: beyond diamond's, beyond a liquid's


@dataclass(frozen=True)
class Observation:
    """Of the systems after a step.

    Attributes:
        potential: [B] eV.
        kinetic: [B] eV.
        temperatures: [B] K, of the degrees of freedom that move.
        volumes: [B] Angstrom^3; 0 where there is no cell.
        pressures: [B] GPa, with the kinetic part, as the barostat sees them; None without one.
        snapshot: what an engine makes frames of.
        failures: why systems make no sense any more, by their number.
    """

    potential: Array
    kinetic: Array
    temperatures: Array
    volumes: Array
    pressures: Array | None
    snapshot: Any
    failures: dict[int, str] = field(default_factory=dict)


class Propagator:
    """An engine with a thermostat and a barostat.

    Args:
        engine: at its start.
        structures: that it moves, with velocities.
        ensemble: what is sampled.
        streams: a number for each structure, of its random numbers; None for a structure alone.
    """

    def __init__(
        self, engine: Engine, structures: Sequence[Atoms], ensemble: Ensemble, streams: Sequence[int] | None = None
    ) -> None:
        self.engine, self.ensemble = engine, ensemble
        self.freedoms = np.array([_freedom(atoms, ensemble) for atoms in structures])
        self._missing = 3 * np.array([len(atoms) for atoms in structures]) - self.freedoms
        self._steps = 0
        self._cells = engine.cells()  # at the start
        own = [[]] if streams is None else [[stream] for stream in streams]
        thermal = units.kB * (ensemble.temperature or 0.0)
        time = ensemble.thermostat_time / ensemble.timestep
        self.thermostat: Thermostat | None = None
        if ensemble.bath == "bussi":
            rngs = [np.random.default_rng([ensemble.seed, 1, *each]) for each in own]
            self.thermostat = Bussi(self.freedoms, thermal, time, rngs)
        elif ensemble.bath == "nose-hoover":
            self.thermostat = NoseHooverChain(self.freedoms, thermal, time)
        self.barostat: CellRescaling | None = None
        if ensemble.name == "npt":
            kind = CellRescaling if ensemble.barostat == "isotropic" else ShapeRescaling
            self.barostat = kind(
                ensemble.pressure / EV_PER_A3_IN_GPA,
                thermal,
                ensemble.barostat_time / (ensemble.timestep * ensemble.barostat_interval),
                self._compressibilities(),
                [np.random.default_rng([ensemble.seed, 2, *each]) for each in own],
            )
        self._hottest = max(HOTTEST, 10 * (ensemble.temperature or 0.0))

    def observe(self) -> Observation:
        """The systems as they are."""
        potential, kinetic, cells = self.engine.potential(), self.engine.kinetic(), self.engine.cells()
        temperatures = 2 * kinetic / (np.maximum(self.freedoms, 1) * units.kB)
        volumes, begun = _volumes(cells), _volumes(self._cells)
        shrunk = np.divide(volumes, begun, out=np.ones_like(volumes), where=begun > 0)
        failures = {}
        for system in np.flatnonzero(~self.engine.finite()):
            failures[int(system)] = "energy or forces are not finite"
        for system in np.flatnonzero(temperatures > self._hottest):
            failures.setdefault(int(system), f"the temperature is {temperatures[system]:.3g} K")
        for system in np.flatnonzero((shrunk < VOLUMES[0]) | (shrunk > VOLUMES[1])):
            what = "collapsed" if shrunk[system] < 1 else "flew apart"
            failures.setdefault(
                int(system), f"the cell {what}: {volumes[system]:.4g} A^3 of {begun[system]:.4g} A^3 are left"
            )
        if isinstance(self.barostat, ShapeRescaling):
            for system in np.flatnonzero((_heights(cells) < NARROWEST * _heights(self._cells)).any(axis=1)):
                failures.setdefault(
                    int(system),
                    "the cell was sheared away; a liquid has no shape, and needs the isotropic barostat",
                )
        snapshot = self.engine.snapshot()
        return Observation(potential, kinetic, temperatures, volumes, self._pressures(), snapshot, failures)

    def advance(self, before: Observation) -> Observation:
        """One time step; where the model could not take it, that is the failure of the systems that it names.

        Args:
            before: the last observation, which is returned with the failures where there is no other.
        """
        baths = copy.copy(self.thermostat), copy.copy(self.barostat)
        try:
            self._step()
        except InputError as error:
            self.thermostat, self.barostat = baths
            return replace(before, failures=self.engine.bad_systems(error))
        return self.observe()

    def keep(self, systems: NDArray[np.int64]) -> None:
        """Go on with some of the systems; the engine was told already."""
        self.freedoms, self._missing = self.freedoms[systems], self._missing[systems]
        self._cells = self._cells[systems]
        for bath in (self.thermostat, self.barostat):
            if bath is not None:
                bath.drop(systems)

    def state(self) -> State:
        """What goes on, of engine and baths."""
        baths = {name: None if bath is None else bath.state() for name, bath in self._baths().items()}
        return {"engine": self.engine.state(), "baths": baths, "steps": self._steps, "cells": self._cells.tolist()}

    def restore(self, state: State) -> None:
        """Go on from it."""
        self.engine.restore(state["engine"])
        for name, bath in self._baths().items():
            if bath is not None:
                bath.restore(state["baths"][name])
        self._steps, self._cells = int(state["steps"]), np.array(state["cells"])

    def _baths(self) -> dict[str, Any]:
        return {"thermostat": self.thermostat, "barostat": self.barostat}

    def _step(self) -> None:
        if self.barostat is not None and self._steps % self.ensemble.barostat_interval == 0:
            volumes = _volumes(self.engine.cells())
            self.engine.deform(self.barostat.deformations(self._pressure_tensors(self.barostat, volumes), volumes))
        if self.thermostat is not None:
            self.engine.scale_momenta(self.thermostat.before(self.engine.kinetic()))
        self.engine.step()
        if self.thermostat is not None:
            self.engine.scale_momenta(self.thermostat.after(self.engine.kinetic()))
        self._steps += 1

    def _pressure_tensors(self, barostat: CellRescaling, volumes: Array) -> Array:
        """Of potential and kinetic energy, [B, 3, 3] eV/Angstrom^3."""
        # the centre of mass, which rests, counts as in the textbook's ensemble: as if it moved at the temperature
        resting = (self._missing * barostat.thermal_energy / 3)[:, None, None] * np.eye(3)
        return self.engine.virial_pressures() + (self.engine.kinetic_tensors() + resting) / volumes[:, None, None]

    def _pressures(self) -> Array | None:
        if self.barostat is None:
            return None
        tensors = self._pressure_tensors(self.barostat, _volumes(self.engine.cells()))
        return np.trace(tensors, axis1=1, axis2=2) / 3 * EV_PER_A3_IN_GPA

    def _compressibilities(self) -> Array:
        """Of each system, Angstrom^3/eV: given, or from the pressure of a cell a little larger and a little smaller."""
        if self.ensemble.compressibility is not None:
            return np.full(len(self.freedoms), self.ensemble.compressibility * EV_PER_A3_IN_GPA)
        large, small = 1 + _STRETCH, 1 - _STRETCH
        outward, inward = (self._pressures_after(factor) for factor in (large, small / large))
        self._pressures_after(1 / small)
        moduli = (inward - outward) * EV_PER_A3_IN_GPA / (3 * 2 * _STRETCH)  # dV/V is three times dL/L
        return np.clip(1 / np.maximum(moduli, 1e-9), _STIFF, _SOFT) * EV_PER_A3_IN_GPA

    def _pressures_after(self, factor: float) -> Array:
        """Of the potential energy, [B], after all lengths have been multiplied."""
        self.engine.deform(np.tile(factor * np.eye(3), (len(self.freedoms), 1, 1)))
        return np.trace(self.engine.virial_pressures(), axis1=1, axis2=2) / 3


def _freedom(atoms: Atoms, ensemble: Ensemble) -> int:
    """Degrees of freedom that move; where the velocities are not ours, whole systems may fly and turn."""
    if ensemble.temperature is not None or atoms.constraints:
        return degrees_of_freedom(atoms, whole=ensemble.bath == "langevin")
    given = FreedomCounter()
    given.add(atoms.positions, atoms.get_velocities(), atoms.get_masses(), atoms.pbc)
    return 3 * len(atoms) - given.resting


def _volumes(cells: Array) -> Array:
    return np.abs(np.linalg.det(cells))


def _heights(cells: Array) -> Array:
    """Distances between opposite faces, [B, 3]."""
    areas = np.linalg.norm(np.cross(np.roll(cells, -1, axis=1), np.roll(cells, -2, axis=1)), axis=2)
    return _volumes(cells)[:, None] / areas


def atoms_to_blame(frame: Atoms, now: Atoms | None = None) -> str:
    """The atoms with which dynamics explode: those that are not finite, or else the fastest and hardest pulled.

    Args:
        frame: the last good one, with velocities and forces.
        now: the one after, if there is one.
    """
    worst = frame if now is None else now
    forces = np.linalg.norm(worst.get_forces(), axis=1)
    speeds = np.linalg.norm(worst.get_momenta(), axis=1) / worst.get_masses()
    lost = np.flatnonzero(~(np.isfinite(forces) & np.isfinite(speeds)))
    if len(lost) == 0 or len(lost) == len(frame):
        forces = np.linalg.norm(frame.get_forces(), axis=1) if len(lost) else forces
        if len(lost):
            speeds = np.linalg.norm(frame.get_momenta(), axis=1) / frame.get_masses()
        order = np.argsort(
            -np.maximum(forces / max(forces.max(), 1e-300), speeds / max(speeds.max(), 1e-300)), kind="stable"
        )
        lost = order[:NAMED]
    names = ", ".join(f"{frame.symbols[atom]} {atom}" for atom in lost[:NAMED])
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"atoms {names}{more}"
