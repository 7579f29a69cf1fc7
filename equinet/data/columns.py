"""Facts of every structure as arrays: sets of any size are sorted, split and counted without reading structures."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from equinet.data.record import Record


@dataclass(frozen=True)
class Columns:
    """One value for each of F structures."""

    atoms: NDArray[np.int64]  # [F]
    energies: NDArray[np.float64]  # [F] eV, NaN where absent
    has_energy: NDArray[np.bool_]  # [F]
    has_forces: NDArray[np.bool_]  # [F]
    has_stress: NDArray[np.bool_]  # [F], virials of structures periodic in three directions
    has_virial: NDArray[np.bool_]  # [F]
    is_isolated_atom: NDArray[np.bool_]  # [F]
    dataset: NDArray[np.object_]  # [F] str, name of the data set; "" without one

    def __getitem__(self, indices: NDArray[np.int64]) -> "Columns":
        return Columns(**{column.name: getattr(self, column.name)[indices] for column in fields(self)})

    def label_counts(self) -> NDArray[np.int64]:
        """Labelled energies, atoms with forces and stresses of each structure, [F, 3]: what losses are means over."""
        return np.stack([self.has_energy, self.has_forces * self.atoms, self.has_stress], axis=1).astype(np.int64)

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """The columns of several sets, one after the other."""
        return cls(
            **{
                column.name: np.concatenate([getattr(part, column.name) for part in [*parts, columns_of([])]])
                for column in fields(cls)
            }
        )


class IndexedRecords(Sequence[Record]):
    """Records that are read one by one when asked for, and know their columns without being read."""

    @property
    @abstractmethod
    def columns(self) -> Columns:
        """Facts of every structure."""

    @abstractmethod
    def edge_counts(self, cutoff: float) -> NDArray[np.int64]:
        """Edges of each structure's graph, [F]."""

    @abstractmethod
    def info_values(self, key: str) -> list[Any]:
        """What each structure's info has under a key, None where nothing; F values."""

    @abstractmethod
    def structures_with(self, number: int) -> NDArray[np.int64]:
        """Which structures have an element, by atomic number; ascending."""

    @abstractmethod
    def compositions(self) -> NDArray[np.uint64]:
        """A number for each structure's formula, [F]; equal where the formulas are."""

    @abstractmethod
    def species(self) -> list[int]:
        """Atomic numbers that occur, ascending."""

    @property
    def atoms(self) -> NDArray[np.int64]:
        """Atoms of each structure, [F]."""
        return self.columns.atoms

    @property
    def energies(self) -> NDArray[np.float64]:
        """Energies, [F] eV, NaN where absent."""
        return self.columns.energies

    @property
    def has_energy(self) -> NDArray[np.bool_]:
        """Which have an energy, [F]."""
        return self.columns.has_energy

    @property
    def has_forces(self) -> NDArray[np.bool_]:
        """Which have forces, [F]."""
        return self.columns.has_forces

    @property
    def has_stress(self) -> NDArray[np.bool_]:
        """Which have a stress: a virial, and three periodic directions, [F]."""
        return self.columns.has_stress

    @property
    def has_virial(self) -> NDArray[np.bool_]:
        """Which have a virial, [F]."""
        return self.columns.has_virial

    @property
    def dataset(self) -> NDArray[np.object_]:
        """Name of each structure's data set, [F]; "" without one."""
        return self.columns.dataset


class Subset(IndexedRecords):
    """Some records of a sequence, in a given order, read when asked for.

    Args:
        records: any sequence; a store, or records in memory.
        indices: [F], which of them.
    """

    def __init__(self, records: Sequence[Record], indices: NDArray[np.int64] | Sequence[int]) -> None:
        self.records = records
        self.indices: NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
        if isinstance(records, Subset):  # one step however often a part is taken of a part
            self.records, self.indices = records.records, records.indices[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "Subset": ...
    def __getitem__(self, index: int | slice) -> "Record | Subset":
        if isinstance(index, slice):
            return Subset(self.records, self.indices[index])
        return self.records[int(self.indices[index])]

    @cached_property
    def columns(self) -> Columns:
        """Facts of every structure."""
        return columns_of(self.records)[self.indices]

    def edge_counts(self, cutoff: float) -> NDArray[np.int64]:
        """Edges of each structure's graph, [F]; from the store's own counts where there is one."""
        from equinet.data.neighbor_counts import edge_counts

        return edge_counts(self.records, cutoff)[self.indices]

    def info_values(self, key: str) -> list[Any]:
        """What each structure's info has under a key, None where nothing."""
        values = info_values(self.records, key)
        return [values[index] for index in self.indices]

    def structures_with(self, number: int) -> NDArray[np.int64]:
        """Which structures (counted within the subset) have an element."""
        if isinstance(self.records, IndexedRecords):
            having = np.zeros(len(self.records), dtype=bool)
            having[self.records.structures_with(number)] = True
            return np.flatnonzero(having[self.indices])
        return np.flatnonzero([(record.numbers == number).any() for record in self])

    def compositions(self) -> NDArray[np.uint64]:
        """A number for each structure's formula, [F]; equal where the formulas are."""
        return compositions(self.records)[self.indices]

    def species(self) -> list[int]:
        """Atomic numbers that occur, ascending."""
        if isinstance(self.records, IndexedRecords):
            return [number for number in self.records.species() if len(self.structures_with(number))]
        return sorted({int(z) for record in self for z in np.unique(record.numbers)})


def columns_of(records: Sequence[Record]) -> Columns:
    """Facts of every structure of any sequence; those of records in memory are gathered from them."""
    if isinstance(records, IndexedRecords):
        return records.columns
    energies = [np.nan if record.energy is None else record.energy for record in records]
    return Columns(
        atoms=np.array([len(record.numbers) for record in records], dtype=np.int64),
        energies=np.array(energies, dtype=np.float64),
        has_energy=np.array([record.energy is not None for record in records], dtype=bool),
        has_forces=np.array([record.forces is not None for record in records], dtype=bool),
        has_stress=np.array([record.virial is not None and record.pbc.all() for record in records], dtype=bool),
        has_virial=np.array([record.virial is not None for record in records], dtype=bool),
        is_isolated_atom=np.array([record.is_isolated_atom for record in records], dtype=bool),
        dataset=np.full(len(records), "", dtype=object),
    )


def info_values(records: Sequence[Record], key: str) -> list[Any]:
    """What the info of each record has under a key, None where nothing."""
    if isinstance(records, IndexedRecords):
        return records.info_values(key)
    return [record.info.get(key) for record in records]


def compositions(records: Sequence[Record]) -> NDArray[np.uint64]:
    """A number for each record's formula, [F]; equal where the formulas are."""
    if isinstance(records, IndexedRecords):
        return records.compositions()
    return np.array([FORMULA[record.numbers].sum() for record in records], dtype=np.uint64)


FORMULA: NDArray[np.uint64] = np.random.default_rng(118).integers(2**64, size=256, dtype=np.uint64)
"""A random number for each element; the sum over a structure's atoms, modulo 2^64, stands for its formula."""


def species_of(records: Sequence[Record]) -> list[int]:
    """Atomic numbers that occur, ascending."""
    if isinstance(records, IndexedRecords):
        return records.species()
    return sorted({int(z) for record in records for z in np.unique(record.numbers)})
