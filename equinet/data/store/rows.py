"""Structures of one shard picked at random: a few reads of just their bytes.

Not through the mapping: each page touched there brings its neighbours with it, which Linux counts as memory of the
process (a few dozen structures cost a hundred megabytes), and giving pages back takes longer than reading does. A read
at a position needs no state, so that processes share the open file after a fork.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equinet.data.record import Record
from equinet.data.store.shard import Shard
from equinet.errors import InputError


class Row(NamedTuple):
    """A structure, and where it came from."""

    record: Record
    file: int
    frame: int


class RowReader:
    """Reads structures of one shard by number.

    Args:
        path: of the shard.

    Raises:
        InputError: it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        shard = Shard(path)
        self.path = path
        self._start: dict[str, int] = {}  # where each column's values, or offsets, start in the file
        self._data: dict[str, int] = {}  # where the items of lists and the text start
        base = shard.bytes.address
        for name, column in shard.columns.items():
            buffers = _buffers(column)
            self._start[name] = buffers[0].address - base
            if len(buffers) > 1:
                self._data[name] = buffers[1].address - base
        self._absent = {name: _absent(shard, name) for name in ("energy", "forces", "virial", "energy_key")}
        self._energy_keys: list[str] = shard.columns["energy_key"].dictionary.to_pylist()
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def row(self, index: int, paths: list[str]) -> Row:
        """Structure ``index``; its arrays are its own.

        Args:
            index: from 0 to the number of structures - 1.
            paths: of the files that structures came from.

        Raises:
            InputError: the file has become shorter.
        """
        first, last = self._values("numbers", index, np.int32, 2).tolist()
        file, frame = int(self._values("file", index, np.int32)[0]), int(self._values("frame", index, np.int64)[0])
        forces = None
        if self._there("forces", index):
            # the offsets of both are the same where every structure has forces
            start = first if self._absent["forces"] is None else int(self._values("forces", index, np.int32)[0])
            forces = self._items("forces", start, last - first)
        record = Record(
            numbers=np.frombuffer(self._read(self._data["numbers"] + first, last - first), np.uint8).astype(np.int64),
            positions=self._items("positions", first, last - first),
            cell=self._values("cell", index, np.float64, 9, 9).reshape(3, 3),
            pbc=self._values("pbc", index, np.uint8, 3, 3).astype(bool),
            energy=float(self._values("energy", index, np.float64)[0]) if self._there("energy", index) else None,
            forces=forces,
            virial=self._values("virial", index, np.float64, 9, 9).reshape(3, 3)
            if self._there("virial", index)
            else None,
            info=self._info(index),
            source=f"{paths[file]} frame {frame}",
            energy_key=self._energy_key(index),
        )
        return Row(record, file, frame)

    def _info(self, index: int) -> dict[str, Any]:
        first, last = self._values("info", index, np.int32, 2).tolist()
        if last - first == len("{}"):
            return {}
        info: dict[str, Any] = json.loads(self._read(self._data["info"] + first, last - first))
        return info

    def _energy_key(self, index: int) -> str | None:
        if not self._there("energy_key", index):
            return None
        only = len(self._energy_keys) == 1
        return self._energy_keys[0 if only else int(self._values("energy_key", index, np.int16)[0])]

    def _there(self, column: str, index: int) -> bool:
        absent = self._absent[column]
        return absent is None or not absent[index >> 3] >> (index & 7) & 1

    def _items(self, column: str, first: int, count: int) -> NDArray[np.float64]:
        """Vectors of a list, [count, 3]."""
        return np.frombuffer(self._read(self._data[column] + 24 * first, 24 * count)).reshape(count, 3)

    def _values(self, column: str, index: int, dtype: type, count: int = 1, width: int = 1) -> NDArray[Any]:
        """``count`` values from row ``index`` on, of a column with ``width`` values a row."""
        size = np.dtype(dtype).itemsize
        return np.frombuffer(self._read(self._start[column] + index * width * size, count * size), dtype)

    def _read(self, start: int, count: int) -> bytes:
        content = os.pread(self._file, count, start)
        if len(content) < count:
            raise InputError(f"{self.path}: shorter than it was written; restore the file, or build the store again")
        return content


def _buffers(column: pa.Array) -> list[pa.Buffer]:
    """Values, or offsets and items, of a column; without bitmaps."""
    if isinstance(column, pa.DictionaryArray):
        column = column.indices
    if isinstance(column, pa.ListArray):
        return [column.buffers()[1], _buffers(column.values)[0]]
    if isinstance(column, pa.FixedSizeListArray):
        return _buffers(column.values)
    return list(column.buffers()[1:])


def _absent(shard: Shard, column: str) -> bytes | None:
    """A bit for each structure, 1 where the value is absent; None where none is. A copy: it is needed at every read."""
    there = shard.has(column)
    return None if there.all() else np.packbits(~there, bitorder="little").tobytes()
