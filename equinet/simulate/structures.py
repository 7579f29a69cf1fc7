"""Small random structures for physics checks: bulk, slab, wire, molecule and triclinic, for any elements.

They have no symmetry (so that no error hides behind one), liquid-like densities and sensible distances: no
two atoms are closer than 0.95 of the sum of their covalent radii (1 Angstrom at least), images included. The
same species and seed give the same structure on every machine.
"""

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from equinet.errors import InputError

CLOSEST = 0.95
"""Shortest distance allowed, in sums of covalent radii."""
FLOOR = 1.0
"""Shortest distance allowed whatever the elements, Angstrom."""
PACKING = 0.27
"""Volume fraction of the hard spheres that the shortest distances define (random insertion jams at 0.38)."""
SPARSEST = 8.0
"""Volume per atom at least, Angstrom^3: small atoms bond to few others and leave room between molecules."""
MAX_SPECIES = 6
"""Elements drawn into one structure when a model knows more."""


def bulk(species: Sequence[int], seed: int = 0) -> Atoms:
    """Periodic in three directions, nearly cubic cell smaller than most cutoffs, at least 8 atoms.

    Args:
        species: atomic numbers to choose from (at most MAX_SPECIES of them are drawn).
        seed: of the random numbers.

    Raises:
        InputError: species is empty or holds no atomic number from 1 to 118.
    """
    rng = np.random.default_rng([seed, 1])
    shape = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))
    return _fill(_draw(species, 8, rng), shape, (True, True, True), rng)


def triclinic(species: Sequence[int], seed: int = 0) -> Atoms:
    """Periodic in three directions, strongly skewed left-handed cell, at least 6 atoms. See bulk."""
    rng = np.random.default_rng([seed, 2])
    shape = np.array([[1.0, 0.05, -0.1], [-0.45, 0.95, 0.1], [0.35, -0.3, -1.15]])
    return _fill(_draw(species, 6, rng), shape + rng.uniform(-0.05, 0.05, (3, 3)), (True, True, True), rng)


def slab(species: Sequence[int], seed: int = 0) -> Atoms:
    """Periodic in two directions, third lattice vector zero, at least 8 atoms. See bulk."""
    rng = np.random.default_rng([seed, 3])
    shape = np.array([[1.1, 0.0, 0.1], [0.25, 1.0, -0.1], [0.0, 0.0, 1.0]])
    atoms = _fill(_draw(species, 8, rng), shape, (True, True, False), rng)
    atoms.cell[2] = 0.0
    return atoms


def wire(species: Sequence[int], seed: int = 0) -> Atoms:
    """Periodic along the second lattice vector only; the others are padding (15 Angstrom), at least 6 atoms.

    See bulk for the arguments.
    """
    rng = np.random.default_rng([seed, 4])
    shape = np.array([[0.85, 0.0, 0.0], [0.1, 1.3, -0.1], [0.0, 0.0, 0.9]])
    atoms = _fill(_draw(species, 6, rng), shape, (False, True, False), rng)
    lengths = atoms.cell.lengths()
    for axis in (0, 2):
        atoms.cell[axis] *= (lengths[axis] + 15.0) / lengths[axis]
    return atoms


def molecule(species: Sequence[int], seed: int = 0) -> Atoms:
    """No periodic direction and no cell, at least 7 atoms. See bulk."""
    rng = np.random.default_rng([seed, 5])
    atoms = _fill(_draw(species, 7, rng), np.eye(3), (False, False, False), rng)
    atoms.cell[:] = 0.0
    return atoms


BUILDERS: dict[str, Callable[[Sequence[int], int], Atoms]] = {
    "bulk": bulk,
    "slab": slab,
    "wire": wire,
    "molecule": molecule,
    "triclinic": triclinic,
}
"""Every structure kind by name."""


def _draw(species: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Atomic numbers [N], N >= count: every drawn species at least once, in random order."""
    known = sorted({int(number) for number in species})
    if not known or known[0] < 1 or known[-1] > 118:
        raise InputError(f"cannot draw a structure for species {list(species)}; give atomic numbers from 1 to 118")
    if len(known) > MAX_SPECIES:
        known = sorted(rng.choice(known, MAX_SPECIES, replace=False).tolist())
    extra = rng.choice(known, max(0, count - len(known)))
    return rng.permutation(np.concatenate([np.array(known), extra]).astype(int))


def _fill(numbers: np.ndarray, shape: np.ndarray, pbc: tuple[bool, bool, bool], rng: np.random.Generator) -> Atoms:
    """Random sequential insertion into a cell of the given shape; the cell grows by 4 % when it jams."""
    radii = covalent_radii[numbers]  # [N]
    closest = np.maximum(CLOSEST * (radii[:, None] + radii[None, :]), FLOOR)  # [N, N]
    volume = np.maximum(np.pi / 6 * np.diag(closest) ** 3 / PACKING, SPARSEST).sum()
    cell = shape * (volume / abs(np.linalg.det(shape))) ** (1 / 3)
    while True:
        positions = _insert(closest, cell, pbc, rng)
        if positions is not None:
            return Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc)
        cell = cell * 1.04


def _insert(
    closest: np.ndarray, cell: np.ndarray, pbc: tuple[bool, bool, bool], rng: np.random.Generator
) -> np.ndarray | None:
    """Positions [N, 3] that keep every pair (images too) at its closest distance; None when jammed."""
    reach = [range(-2, 3) if periodic else range(1) for periodic in pbc]
    images = np.array([(i, j, k) for i in reach[0] for j in reach[1] for k in reach[2]]) @ cell  # [I, 3]
    own = np.linalg.norm(images, axis=1)
    if np.any(own[own > 0] < closest.max()):
        return None
    placed: list[np.ndarray] = []
    for atom in range(len(closest)):
        for _ in range(300):
            trial = rng.random(3) @ cell
            others = np.array(placed).reshape(-1, 1, 3) + images - trial  # [P, I, 3]
            if np.all(np.linalg.norm(others, axis=-1) >= closest[atom, :atom, None]):
                placed.append(trial)
                break
        else:
            return None
    return np.array(placed)
