"""A store read: structures by number, and their facts as arrays."""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from equinet.data.columns import FORMULA, Columns, IndexedRecords, Subset
from equinet.data.neighbor_counts import count_edges
from equinet.data.record import Record, is_called_isolated
from equinet.data.store.manifest import Manifest, read_manifest
from equinet.data.store.rows import Row, RowReader
from equinet.data.store.shard import Shard
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.files import replacing

OPEN_SHARDS = 256
"""At most so many files are held open."""


class Store(IndexedRecords):
    """A store as a sequence of records; only what is asked for is read.

    ``store[i]`` is a :class:`Record` that owns its arrays, ``store[a:b]`` a lazy :class:`Subset`. A store can be
    pickled and opened in other processes; its files are never written to.

    Args:
        path: the folder that ``equinet data build`` made.

    Raises:
        InputError: no store, or half of one; another version of the format; a shard that is missing or has not the
            size it was written with (checksums are for ``equinet data check``).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        if not self.manifest.complete:
            raise InputError(f"{path}: its build was interrupted; run the same 'equinet data build' again to finish it")
        for shard in self.manifest.shards:
            file = self.path / shard.file
            if not file.is_file():
                raise InputError(f"{file}: the shard is missing; restore the file, or build the store again")
            if file.stat().st_size != shard.bytes:
                raise InputError(
                    f"{file}: {file.stat().st_size} bytes, but {shard.bytes} were written; restore the file, or build "
                    "the store again"
                )
        self._ends = list(accumulate(shard.structures for shard in self.manifest.shards))
        self._paths = [entry.path for entry in self.manifest.inputs]
        self._readers: OrderedDict[int, RowReader] = OrderedDict()
        self._columns: Columns | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_readers": OrderedDict()}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Record | Subset:
        if isinstance(index, slice):
            return Subset(self, np.arange(len(self))[index])
        return self.row(index).record

    def __iter__(self) -> Iterator[Record]:
        for index in range(len(self)):
            yield self[index]

    def row(self, index: int) -> Row:
        """A structure, the number of its file in the manifest, and its frame there.

        Raises:
            IndexError: there is no such structure.
            InputError: its shard is gone, or damaged.
        """
        number, local = self._locate(index)
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = RowReader(self.path / self.manifest.shards[number].file)
            if len(self._readers) > OPEN_SHARDS:
                self._readers.popitem(last=False)
        else:
            self._readers.move_to_end(number)
        return reader.row(local, self._paths)

    @property
    def fingerprint(self) -> str:
        """Of the content (see :attr:`equinet.data.store.manifest.Manifest.fingerprint`)."""
        return self.manifest.fingerprint

    @property
    def columns(self) -> Columns:
        """Facts of every structure, gathered when first asked for: 29 bytes a structure."""
        if self._columns is None:
            self._columns = self._gather()
        return self._columns

    @property
    def file_numbers(self) -> NDArray[np.int32]:
        """Number of the input file of each structure, [F]."""
        return np.concatenate([np.zeros(0, np.int32), *(shard.files for shard in self.shards())])

    def shards(self) -> Iterator[Shard]:
        """The columns of every shard in turn."""
        for entry in self.manifest.shards:
            yield Shard(self.path / entry.file)

    def edge_counts(
        self, cutoff: float, workers: int | None = None, done: Callable[[int], None] = lambda count: None
    ) -> NDArray[np.int64]:
        """Edges of each structure's graph, [F]; counted once for a cutoff, then kept in the store's folder ``cache``.

        Args:
            cutoff: Angstrom.
            workers: as for :func:`equinet.data.chunks.map_chunks`.
            done: told the number of structures counted so far.

        Raises:
            InputError: a structure no graph can be built of.
        """
        file = self.path / "cache" / f"edges-{float(cutoff):g}-{self.fingerprint[:16]}.npy"
        if file.is_file():
            kept = np.load(file)
            if kept.shape == (len(self),):
                return kept.astype(np.int64)
        counts = count_edges(self, cutoff, workers, done)
        try:
            file.parent.mkdir(exist_ok=True)
            with replacing(file) as partial, partial.open("wb") as stream:
                np.save(stream, counts.astype(np.int32))
        except (OSError, InputError):
            pass  # a store that is not ours to write to: the counts are only not kept
        return counts

    def info_values(self, key: str) -> list[Any]:
        """What each structure's info has under a key, None where nothing."""
        texts = (text for shard in self.shards() for text in shard.columns["info"].to_pylist())
        return [None if text == "{}" else json.loads(text).get(key) for text in texts]

    def structures_with(self, number: int) -> NDArray[np.int64]:
        """Which structures have an element, by atomic number; ascending."""
        found = [np.zeros(0, np.int64)]
        for i, entry in enumerate(self.manifest.shards):
            if SYMBOLS[number] in entry.elements:
                shard = Shard(self.path / entry.file)
                places = np.flatnonzero(shard.numbers == number)
                local = np.unique(np.searchsorted(shard.offsets, places, side="right") - 1)
                found.append(local + self._ends[i] - entry.structures)
        return np.concatenate(found)

    def compositions(self) -> NDArray[np.uint64]:
        """A number for each structure's formula, [F]; equal where the formulas are."""
        sums = [np.add.reduceat(FORMULA[shard.numbers], shard.offsets[:-1]) for shard in self.shards()]
        return np.concatenate([np.zeros(0, np.uint64), *sums])

    def species(self) -> list[int]:
        """Atomic numbers that occur, ascending; from the manifest."""
        return sorted(SYMBOLS.index(symbol) for symbol in self.manifest.elements)

    def _locate(self, index: int) -> tuple[int, int]:
        """Number of the shard, and of the structure within it."""
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path}: no structure {index} among {len(self)}")
        index %= len(self)
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def _gather(self) -> Columns:
        parts: list[Columns] = []
        names = np.array([entry.dataset for entry in self.manifest.inputs], dtype=object)
        for shard in self.shards():
            has_energy, has_virial = shard.has("energy"), shard.has("virial")
            atoms = np.diff(shard.offsets).astype(np.int64)
            isolated = (atoms == 1) & ~shard.pbc.any(axis=1)
            for i in np.flatnonzero((atoms == 1) & shard.pbc.any(axis=1)):
                isolated[i] = is_called_isolated(shard.info_of(int(i)))
            parts.append(
                Columns(
                    atoms=atoms,
                    energies=np.where(has_energy, shard.energies, np.nan),
                    has_energy=has_energy,
                    has_forces=shard.has("forces"),
                    has_stress=has_virial & shard.pbc.all(axis=1),
                    has_virial=has_virial,
                    is_isolated_atom=isolated,
                    dataset=names[shard.files],
                )
            )
        return Columns.joined(parts)
