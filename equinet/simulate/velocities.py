"""Velocities at a temperature, and the degrees of freedom that they have."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from equinet.errors import InputError

Array = NDArray[np.float64]

RESTING = 1e-3
"""Kinetic energy of the centre of mass, or of rotation, over what it would have if all degrees of freedom had the same,
below which it is at rest: models in single precision leave less, and a bath gives all of it."""
STRAIGHT = 0.1
"""Radius of gyration about its long axis, rms over frames in Angstrom, below which a molecule that vibrates is linear:
0.18 of water, 0.05 of acetylene at room temperature."""


def thermalize(atoms: Atoms, temperature: float, seed: int | Sequence[int] = 0) -> None:
    """Maxwell-Boltzmann velocities in place, scaled to the temperature exactly.

    Total momentum is taken out, and for a molecule rotation. With constraints on the atoms, momenta along
    them vanish and nothing else is taken out.

    Args:
        atoms: changed in place.
        temperature: K.
        seed: of the random numbers.

    Raises:
        InputError: a temperature that makes no sense.
    """
    if not (np.isfinite(temperature) and temperature >= 0):
        raise InputError(f"a temperature of {temperature} K makes no sense; give 0 or more")
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


def degrees_of_freedom(atoms: Atoms, whole: bool = False) -> int:
    """Those that move.

    Args:
        atoms: with constraints, 3N less those; else 3N less total momentum and, for a molecule, rotation.
        whole: neither is taken out: a bath that couples to every atom moves them too.
    """
    if atoms.constraints:
        return int(atoms.get_number_of_degrees_of_freedom())
    if whole:
        return 3 * len(atoms)
    freedom = 3 * len(atoms) - 3
    if not atoms.pbc.any():
        spread = atoms.positions - atoms.positions.mean(axis=0)
        rank = int(np.linalg.matrix_rank(spread, tol=1e-6))
        freedom -= {0: 0, 1: 2}.get(rank, 3)  # a point, a line, or more
    return freedom


class FreedomCounter:
    """Counts the degrees of freedom that move from the velocities of frames, whatever dynamics they are of."""

    def __init__(self) -> None:
        self._moving: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._kinetic, self._whole, self._turning = 0.0, 0.0, 0.0
        self._frames, self._widths, self._periodic = 0, 0.0, False

    def add(self, positions: Array, velocities: Array, masses: Array, pbc: NDArray[np.bool_]) -> None:
        """A frame: positions [N, 3] unwrapped where they are not periodic, velocities [N, 3], masses [N], pbc [3]."""
        moving = (velocities != 0).any(axis=1)
        self._moving = moving | self._moving if len(self._moving) else moving
        self._frames, weights = self._frames + 1, masses[:, None]
        self._kinetic += _kinetic(weights, velocities)
        self._whole += _kinetic(masses.sum(), weights.T @ velocities / masses.sum())
        self._periodic |= bool(pbc.any())
        if not self._periodic:
            self._turning += _kinetic(weights, _rigid_rotation(positions, velocities, weights))
            arms = positions - weights.T @ positions / masses.sum()
            spread = np.linalg.svd(np.sqrt(weights) * arms, compute_uv=False)  # along the principal axes
            self._widths += float(np.sum(spread[1:] ** 2) / masses.sum())

    @property
    def resting_rotations(self) -> int:
        """Of a molecule that does not turn, 2 or 3; 0 where it does, and where there are periodic directions."""
        if self._periodic or self._frames == 0 or len(self._moving) == 1:
            return 0
        rotations = 2 if np.sqrt(self._widths / self._frames) < STRAIGHT else 3
        return rotations if self._turning <= rotations * self._rest() else 0

    @property
    def resting(self) -> int:
        """Those and 3 of the centre of mass, where it is at rest."""
        return self.resting_rotations + (3 if self._whole <= 3 * self._rest() else 0)

    def count(self) -> int:
        """Three of each atom, less those at rest; where atoms never moved, and so are fixed, 3 of each that did."""
        moving = int(self._moving.sum())
        return 3 * moving - (self.resting if moving == len(self._moving) else 0)

    def _rest(self) -> float:
        return RESTING * self._kinetic / max(3 * len(self._moving), 1)


def _kinetic(masses: Array | float, velocities: Array) -> float:
    return 0.5 * float(np.sum(masses * velocities**2))


def _rigid_rotation(positions: Array, velocities: Array, masses: Array) -> Array:
    """Velocities [N, 3] of the rigid rotation that carries the whole angular momentum."""
    arms = positions - (masses * positions).sum(axis=0) / masses.sum()
    angular = np.cross(arms, masses * velocities).sum(axis=0)
    squares = np.sum(arms**2, axis=1)
    inertia = np.einsum("n,nij->ij", masses[:, 0], squares[:, None, None] * np.eye(3)) - (masses * arms).T @ arms
    return np.cross(np.linalg.pinv(inertia, rcond=1e-10) @ angular, arms)
