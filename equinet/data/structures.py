"""Structures of any file or store one after the other, to be predicted: of any number, judged by whoever takes them."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from equinet.data.columns import Subset
from equinet.data.files import iterate_unchecked
from equinet.data.formats import FormatOptions
from equinet.data.opening import open_store, store_of
from equinet.data.record import Record
from equinet.data.store.store import Store
from equinet.errors import InputError
from equinet.files import content_sha256


class StructureSource:
    """What a user names as structures: a file or folder that we read, a store, or ``STORE:NAME``, a split of one.

    Args:
        path: of it.

    Raises:
        InputError: nothing is there; a store that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._store: Store | Subset | None = open_store(path)
        if self._store is None and not self.path.exists():
            raise InputError(f"{path}: no such file; check the path")

    @property
    def count(self) -> int | None:
        """Structures; None of a file, which nobody knows before it is read."""
        return None if self._store is None else len(self._store)

    def frames(self, start: int = 0) -> Iterator[tuple[int, Atoms]]:
        """Structures from number ``start`` on, with their number; memory holds one at a time.

        Labels of a store are calculator results, as those of a file are, and ``info["virial"]`` (eV) where there is no
        stress.

        Raises:
            InputError: a file that is not readable, truncated or empty.
        """
        if self._store is None:
            yield from iterate_unchecked(self.path, FormatOptions(), start)
            return
        for number in range(start, len(self._store)):
            yield number, _atoms(self._store[number])

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the content of a file; of a store's, and which of it are in a split."""
        if self._store is None:
            return content_sha256(self.path)
        store = store_of(self._store)
        assert store is not None
        chosen = self._store.indices if isinstance(self._store, Subset) else np.arange(len(store))
        return hashlib.sha256(store.fingerprint.encode() + chosen.astype("<i8").tobytes()).hexdigest()


def _atoms(record: Record) -> Atoms:
    atoms = Atoms(record.numbers, record.positions, cell=record.cell, pbc=record.pbc, info=dict(record.info))
    values: dict[str, Any] = {"energy": record.energy, "forces": record.forces}
    if record.stress is not None:
        values["stress"] = full_3x3_to_voigt_6_stress(record.stress)
    elif record.virial is not None:
        atoms.info["virial"] = record.virial
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in values.items() if value is not None})
    return atoms
