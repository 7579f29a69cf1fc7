"""Labels a frame gives twice: free energy beside energy, a calculator's result beside a reference value."""

from typing import Any

import numpy as np
from ase import Atoms

from equinet.data.keys import value_of

FREE_ENERGY_TOLERANCE = 1e-3
"""eV/atom. Energy and free energy further apart than this are counted."""


def free_energy_differs(atoms: Atoms) -> bool:
    """Whether ``energy`` and ``free_energy`` differ by more than 1 meV/atom."""
    free, plain = value_of(atoms, "free_energy"), value_of(atoms, "energy")
    if free is None or plain is None:
        return False
    try:
        return abs(float(free) - float(plain)) > FREE_ENERGY_TOLERANCE * len(atoms)
    except (TypeError, ValueError):
        return False  # not a number: said, with the key, where the label is read


def contradicts(atoms: Atoms, rival: str, chosen: tuple[str, ...]) -> bool:
    """Whether a label would be another one under another key."""
    ours = next((v for v in (value_of(atoms, key) for key in chosen) if v is not None), None)
    theirs = value_of(atoms, rival)
    return ours is not None and theirs is not None and not _same(ours, theirs)


def _same(a: Any, b: Any) -> bool:
    try:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return a.size == b.size and bool(np.allclose(a.ravel(), b.ravel(), rtol=1e-6, atol=1e-6))
