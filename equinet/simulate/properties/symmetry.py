"""What spglib says of a crystal, where it is installed (the extra ``properties``)."""

import warnings
from typing import Any

import numpy as np
from ase import Atoms

SYMPREC = 1e-3
"""Distance within which positions count as equivalent, Angstrom."""


def distinct_sites(atoms: Atoms) -> list[int] | None:
    """The first atom of each set of equivalent ones; None without spglib."""
    dataset = _dataset(atoms)
    return None if dataset is None else [int(each) for each in np.unique(dataset.equivalent_atoms)]


def is_conventional(atoms: Atoms) -> bool | None:
    """Whether the cell has as many atoms as the conventional one, which Miller indices suppose; None without spglib."""
    dataset = _dataset(atoms)
    return None if dataset is None else len(dataset.std_types) == len(atoms)


def _dataset(atoms: Atoms) -> Any:
    try:
        import spglib
    except ImportError:
        return None
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        # 2.8 says so in each call, whatever the caller does; it returns None where later ones raise
        warnings.filterwarnings("ignore", message="Set OLD_ERROR_HANDLING", category=DeprecationWarning)
        return spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
