"""Velocities at a temperature, and the degrees of freedom that they have."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

Array = NDArray[np.float64]


def thermalize(atoms: Atoms, temperature: float, seed: int | Sequence[int] = 0) -> None:
    """Maxwell-Boltzmann velocities in place, scaled to the temperature exactly.

    Total momentum is taken out, and for a molecule rotation. With constraints on the atoms, momenta along
    them vanish and nothing else is taken out.

    Args:
        atoms: changed in place.
        temperature: K.
        seed: of the random numbers.
    """
    masses = atoms.get_masses()[:, None]
    momenta = np.random.default_rng(seed).standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    if not atoms.constraints:
        velocities = momenta / masses
        velocities -= momenta.sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            velocities -= _rigid_rotation(atoms.positions, velocities, masses)
        momenta = velocities * masses
    atoms.set_momenta(momenta)
    freedom = degrees_of_freedom(atoms)
    kinetic = atoms.get_kinetic_energy()
    if freedom == 0 or kinetic == 0.0:
        atoms.set_momenta(np.zeros_like(momenta))
        return
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(0.5 * freedom * units.kB * temperature / kinetic))


def degrees_of_freedom(atoms: Atoms) -> int:
    """Those left without total momentum and, for a molecule, rotation; with constraints: 3N less those."""
    if atoms.constraints:
        return int(atoms.get_number_of_degrees_of_freedom())
    freedom = 3 * len(atoms) - 3
    if not atoms.pbc.any():
        spread = atoms.positions - atoms.positions.mean(axis=0)
        rank = int(np.linalg.matrix_rank(spread, tol=1e-6))
        freedom -= {0: 0, 1: 2}.get(rank, 3)  # a point, a line, or more
    return freedom


def _rigid_rotation(positions: Array, velocities: Array, masses: Array) -> Array:
    """Velocities [N, 3] of the rigid rotation that carries the whole angular momentum."""
    arms = positions - (masses * positions).sum(axis=0) / masses.sum()
    angular = np.cross(arms, masses * velocities).sum(axis=0)
    squares = np.sum(arms**2, axis=1)
    inertia = np.einsum("n,nij->ij", masses[:, 0], squares[:, None, None] * np.eye(3)) - (masses * arms).T @ arms
    return np.cross(np.linalg.pinv(inertia, rcond=1e-10) @ angular, arms)
