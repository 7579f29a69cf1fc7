"""What spglib says of a crystal, where it is installed (the extra ``properties``)."""

from types import ModuleType

import numpy as np
from ase import Atoms

SYMPREC = 1e-3
"""Distance within which positions count as equivalent, Angstrom."""


def distinct_sites(atoms: Atoms) -> list[int] | None:
    """The first atom of each set of equivalent ones; None without spglib."""
    spglib = _spglib()
    if spglib is None:
        return None
    dataset = spglib.get_symmetry_dataset(_cell(atoms), symprec=SYMPREC)
    if dataset is None:
        return None
    return [int(each) for each in np.unique(dataset.equivalent_atoms)]


def is_conventional(atoms: Atoms) -> bool | None:
    """Whether the cell has as many atoms as the conventional one, which Miller indices suppose; None without spglib."""
    spglib = _spglib()
    if spglib is None:
        return None
    dataset = spglib.get_symmetry_dataset(_cell(atoms), symprec=SYMPREC)
    return None if dataset is None else len(dataset.std_types) == len(atoms)


def _spglib() -> ModuleType | None:
    try:
        import spglib
    except ImportError:
        return None
    return spglib


def _cell(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
