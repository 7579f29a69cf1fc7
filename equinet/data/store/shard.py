"""One shard, memory-mapped: arrays that are views of the file, and a structure as a few slices of them."""

import json
import mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equinet.data.record import Record
from equinet.errors import InputError


class Bits:
    """Which of F values are there, without unpacking Arrow's bitmap."""

    def __init__(self, column: pa.Array) -> None:
        buffer = column.buffers()[0]
        self.count = len(column)
        self.bytes = None if buffer is None else np.frombuffer(buffer, np.uint8)

    def __getitem__(self, index: int) -> bool:
        return self.bytes is None or bool(self.bytes[index >> 3] >> (index & 7) & 1)

    def unpacked(self) -> NDArray[np.bool_]:
        """[F]."""
        if self.bytes is None:
            return np.ones(self.count, dtype=bool)
        return np.unpackbits(self.bytes, count=self.count, bitorder="little").astype(bool)


class Text:
    """A column of strings."""

    def __init__(self, column: pa.Array) -> None:
        _, offsets, data = column.buffers()
        self.offsets = np.frombuffer(offsets, np.int32)
        self.data = b"" if data is None else memoryview(data)
        self.there = Bits(column)

    def __getitem__(self, index: int) -> str | None:
        if not self.there[index]:
            return None
        return bytes(self.data[self.offsets[index] : self.offsets[index + 1]]).decode()


class Row(NamedTuple):
    """A structure, and where it came from."""

    record: Record
    file: int
    frame: int


class Shard:
    """Columns of one shard as arrays; they are views of the mapped file and hold no memory of their own.

    F structures with A atoms together; structure i has the atoms ``offsets[i]`` to ``offsets[i + 1]``.

    Args:
        path: an Arrow file with :data:`equinet.data.store.schema.SCHEMA`.

    Raises:
        InputError: it is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            batch = pa.ipc.open_file(pa.py_buffer(self._map)).get_batch(0)
            columns = {name: batch.column(name) for name in batch.schema.names}
            self.offsets: NDArray[np.int32] = columns["numbers"].offsets.to_numpy()  # [F + 1]
            self.numbers: NDArray[np.uint8] = columns["numbers"].values.to_numpy()  # [A]
            self.positions = _vectors(columns["positions"].values)  # [A, 3]
            self.cells = _vectors(columns["cell"]).reshape(-1, 3, 3)  # [F, 3, 3]
            self.pbc = columns["pbc"].values.to_numpy().reshape(-1, 3)  # [F, 3]
            self.energies: NDArray[np.float64] = _plain(columns["energy"], np.float64)  # [F], 0 where absent
            self.has_energy = Bits(columns["energy"])
            self.force_offsets: NDArray[np.int32] = columns["forces"].offsets.to_numpy()  # [F + 1]
            self.forces = _vectors(columns["forces"].values)  # [atoms with forces, 3]
            self.has_forces = Bits(columns["forces"])
            self.virials = _vectors(columns["virial"]).reshape(-1, 3, 3)  # [F, 3, 3]
            self.has_virial = Bits(columns["virial"])
            self.files: NDArray[np.int32] = _plain(columns["file"], np.int32)  # [F]
            self.frames: NDArray[np.int64] = _plain(columns["frame"], np.int64)  # [F]
            self.info, self.energy_keys = Text(columns["info"]), Text(columns["energy_key"])
        except FileNotFoundError:
            raise InputError(f"{path}: the shard is missing; build the store again, or restore the file") from None
        except (pa.ArrowInvalid, OSError, ValueError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: the shard is damaged ({reason}); build the store again") from error

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int, paths: list[str]) -> Row:
        """Structure ``index``; its arrays are copies.

        Args:
            index: 0 to F - 1.
            paths: of the files that structures came from.
        """
        start, stop = self.offsets[index], self.offsets[index + 1]
        forces = None
        if self.has_forces[index]:
            first = self.force_offsets[index]
            forces = self.forces[first : first + stop - start]
        file, frame = int(self.files[index]), int(self.frames[index])
        record = Record(
            numbers=self.numbers[start:stop].astype(np.int64),
            positions=self.positions[start:stop],
            cell=self.cells[index],
            pbc=self.pbc[index],
            energy=float(self.energies[index]) if self.has_energy[index] else None,
            forces=forces,
            virial=self.virials[index] if self.has_virial[index] else None,
            info=self.info_of(index),
            source=f"{paths[file]} frame {frame}",
            energy_key=self.energy_keys[index],
        )
        return Row(record, file, frame)

    def info_of(self, index: int) -> dict[str, Any]:
        """What the file said of structure ``index`` beside its labels."""
        text = self.info[index]
        return {} if text in (None, "{}") else json.loads(text or "{}")

    def release(self) -> None:
        """Give the pages that were read back to the system; they are read again when needed.

        Linux counts pages of mapped files as memory of the process (RssFile) though it may drop them at any time.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _vectors(column: pa.FixedSizeListArray) -> NDArray[np.float64]:
    return np.asarray(column.values.to_numpy()).reshape(-1, column.type.list_size)


def _plain(column: pa.Array, dtype: type) -> NDArray[Any]:
    """The values of a column whether there or not."""
    return np.frombuffer(column.buffers()[1], dtype)[: len(column)]
