"""Labels a file gives twice: free energy beside energy, a calculator's result beside a reference value."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from equinet.data.keys import Label, option, other_candidates, value_of
from equinet.errors import DataWarning, InputError

FREE_ENERGY_TOLERANCE = 1e-3
"""eV/atom. Energy and free energy further apart than this are counted."""


def count_free_energy_differs(frames: Sequence[Atoms]) -> int:
    """Return in how many frames ``energy`` and ``free_energy`` differ by more than 1 meV/atom."""
    return sum(_free_energy_differs(atoms) for atoms in frames)


def _free_energy_differs(atoms: Atoms) -> bool:
    free, plain = value_of(atoms, "free_energy"), value_of(atoms, "energy")
    if free is None or plain is None:
        return False
    try:
        return abs(float(free) - float(plain)) > FREE_ENERGY_TOLERANCE * len(atoms)
    except (TypeError, ValueError):
        return False  # not a number: said, with the key, where the label is read


def refuse_two_energies(frames: Sequence[Atoms], chosen: tuple[str, ...], path: str) -> None:
    """Refuse free energies of some frames beside plain energies of others where the two are not one.

    Isolated atoms are exempt: their energy is often typed in by hand.

    Raises:
        InputError: frames have only the second key, and elsewhere the two differ by more than 1 meV/atom.
    """
    if len(chosen) < 2:
        return
    free, plain = chosen
    without = sum(
        value_of(atoms, free) is None and value_of(atoms, plain) is not None
        for atoms in frames
        if len(atoms) > 1 or atoms.pbc.any()
    )
    differs = count_free_energy_differs(frames)
    if differs and without:
        raise InputError(
            f"{path}: mixed energy keys: {without} frames have {plain!r} only, and in {differs} others "
            f"{free!r} and {plain!r} differ by more than 1 meV/atom; name one with {option('energy')}"
        )


def warn_of_rivals(label: Label, frames: Sequence[Atoms], chosen: tuple[str, ...], path: str) -> None:
    """Warn of frames whose label would be another one under another key."""
    if not chosen:
        return
    for rival in other_candidates(label, frames, chosen):
        count = 0
        for atoms in frames:
            ours = next((v for v in (value_of(atoms, key) for key in chosen) if v is not None), None)
            theirs = value_of(atoms, rival)
            if ours is not None and theirs is not None and not _same(ours, theirs):
                count += 1
        if count:
            warnings.warn(
                f"{path}: {count} frames have another {label} under {rival!r} than under {chosen[0]!r}, "
                f"which is used; name one with {option(label)}",
                DataWarning,
            )


def _same(a: Any, b: Any) -> bool:
    try:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return a.size == b.size and bool(np.allclose(a.ravel(), b.ravel(), rtol=1e-6, atol=1e-6))
