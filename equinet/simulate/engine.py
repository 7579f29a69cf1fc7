"""What moves atoms by one time step: ASE one structure; torch-sim, behind the same face, as many as fit into memory."""

import json
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.ensembles import Ensemble

Array = NDArray[np.float64]
State = dict[str, Any]
"""Arrays by name; random states as text. With these and the structures a run goes on, bit for bit."""


class Engine(Protocol):
    """B systems with positions, momenta and a model; energies in eV, lengths in Angstrom."""

    def step(self) -> None:
        """One time step: velocity Verlet, or Langevin.

        Raises:
            InputError: the model cannot take the new positions.
        """

    def potential(self) -> Array:
        """Potential energies, [B]."""

    def kinetic(self) -> Array:
        """Kinetic energies, [B]."""

    def finite(self) -> NDArray[np.bool_]:
        """Whether energy and forces are numbers, [B]."""

    def kinetic_tensors(self) -> Array:
        """Sums of momentum times velocity, [B, 3, 3] eV; half the trace is the kinetic energy."""

    def cells(self) -> Array:
        """Lattice vectors in rows, [B, 3, 3]."""

    def virial_pressures(self) -> Array:
        """Pressure of the potential energy alone, [B, 3, 3] eV/Angstrom^3."""

    def scale_momenta(self, factors: Array) -> None:
        """Multiply the momenta of each system by its factor, [B]."""

    def deform(self, deformations: Array) -> None:
        """Multiply cells and positions by a symmetric matrix for each system, [B, 3, 3], momenta by its inverse."""

    def snapshot(self) -> Any:
        """What :meth:`frame` can make a structure of, later."""

    def frame(self, system: int, snapshot: Any) -> Atoms:
        """A structure that stands alone, with velocities, energy, forces, and stress where there is one."""

    def bad_systems(self, error: InputError) -> dict[int, str]:
        """Which systems made a step fail, and how."""

    def state(self) -> State:
        """What goes on."""

    def restore(self, state: State) -> None:
        """Go on from it."""


class AseEngine:
    """One structure, any ASE calculator.

    Args:
        atoms: with velocities and calculator; changed.
        ensemble: whose time step and friction count.
    """

    def __init__(self, atoms: Atoms, ensemble: Ensemble) -> None:
        self.atoms = atoms
        timestep = ensemble.timestep * units.fs
        self._rng = np.random.default_rng([ensemble.seed, 1])
        if ensemble.bath == "langevin":
            self._dynamics: Any = Langevin(
                atoms,
                timestep,
                temperature_K=ensemble.temperature,
                friction=ensemble.friction / units.fs,
                fixcm=False,
                rng=self._rng,
            )
        else:
            self._dynamics = VelocityVerlet(atoms, timestep)

    def step(self) -> None:
        """See :class:`Engine`."""
        self._dynamics.step()

    def potential(self) -> Array:
        """See :class:`Engine`."""
        return np.array([self.atoms.get_potential_energy()])

    def kinetic(self) -> Array:
        """See :class:`Engine`."""
        return np.array([self.atoms.get_kinetic_energy()])

    def finite(self) -> NDArray[np.bool_]:
        """See :class:`Engine`."""
        values = (self.potential(), self.kinetic(), self.atoms.get_forces())
        return np.array([all(np.isfinite(each).all() for each in values)])

    def kinetic_tensors(self) -> Array:
        """See :class:`Engine`."""
        return (self.atoms.get_momenta().T @ self.atoms.get_velocities())[None]

    def cells(self) -> Array:
        """See :class:`Engine`."""
        return self.atoms.cell.array[None].copy()

    def virial_pressures(self) -> Array:
        """See :class:`Engine`."""
        return -self.atoms.get_stress(voigt=False)[None]

    def scale_momenta(self, factors: Array) -> None:
        """See :class:`Engine`."""
        if factors[0] != 1.0:
            self.atoms.set_momenta(self.atoms.get_momenta() * factors[0])

    def deform(self, deformations: Array) -> None:
        """See :class:`Engine`."""
        self.atoms.set_cell(self.atoms.cell.array @ deformations[0])
        self.atoms.positions = self.atoms.positions @ deformations[0]
        self.atoms.set_momenta(self.atoms.get_momenta() @ np.linalg.inv(deformations[0]))

    def snapshot(self) -> Atoms:
        """See :class:`Engine`."""
        self.atoms.get_forces()
        frame = self.atoms.copy()
        names = ("energy", "free_energy", "forces", "stress")
        results = {name: self.atoms.calc.results[name] for name in names if name in self.atoms.calc.results}
        frame.calc = SinglePointCalculator(frame, **results)
        return frame

    def frame(self, system: int, snapshot: Atoms) -> Atoms:
        """See :class:`Engine`."""
        return snapshot

    def bad_systems(self, error: InputError) -> dict[int, str]:
        """See :class:`Engine`."""
        return {0: str(error)}

    def state(self) -> State:
        """See :class:`Engine`."""
        return {
            "positions": self.atoms.positions.copy(),
            "momenta": self.atoms.get_momenta(),
            "cell": np.array(self.atoms.cell),
            "rng": json.dumps(self._rng.bit_generator.state),
        }

    def restore(self, state: State) -> None:
        """See :class:`Engine`."""
        self.atoms.set_cell(state["cell"])
        self.atoms.positions[:] = state["positions"]
        self.atoms.arrays["momenta"] = np.array(state["momenta"])
        self._rng.bit_generator.state = json.loads(str(state["rng"]))
