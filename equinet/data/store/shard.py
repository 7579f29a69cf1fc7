"""One shard, memory-mapped: its columns as arrays that are views of the file, for work on all structures in turn."""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equinet.errors import InputError


class Shard:
    """Columns of one shard as arrays; they are views of the mapped file and hold no memory of their own.

    F structures with A atoms together; structure i has the atoms ``offsets[i]`` to ``offsets[i + 1]``. Pages that were
    read count as memory of the process (RssFile) until the object is gone: for structures picked at random see
    :class:`equinet.data.store.rows.RowReader`.

    Args:
        path: an Arrow file with :data:`equinet.data.store.schema.SCHEMA`.

    Raises:
        InputError: it is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.bytes = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            batch = pa.ipc.open_file(self.bytes).get_batch(0)
            self.columns: dict[str, pa.Array] = {name: batch.column(name) for name in batch.schema.names}
            self.offsets: NDArray[np.int32] = self._values("numbers", 1, np.int32)  # [F + 1]
            self.numbers: NDArray[np.uint8] = self.columns["numbers"].values.to_numpy()  # [A]
            self.positions = _vectors(self.columns["positions"].values)  # [A, 3]
            self.cells = _vectors(self.columns["cell"]).reshape(-1, 3, 3)  # [F, 3, 3]
            self.pbc: NDArray[np.bool_] = _vectors(self.columns["pbc"]).astype(bool)  # [F, 3]
            self.energies: NDArray[np.float64] = self._values("energy", 1, np.float64)  # [F], 0 where absent
            self.force_offsets: NDArray[np.int32] = self._values("forces", 1, np.int32)  # [F + 1]
            self.forces = _vectors(self.columns["forces"].values)  # [atoms with forces, 3]
            self.virials = _vectors(self.columns["virial"]).reshape(-1, 3, 3)  # [F, 3, 3], 0 where absent
            self.files: NDArray[np.int32] = self._values("file", 1, np.int32)  # [F]
            self.frames: NDArray[np.int64] = self._values("frame", 1, np.int64)  # [F]
        except FileNotFoundError:
            raise InputError(f"{path}: the shard is missing; restore the file, or build the store again") from None
        except (pa.ArrowInvalid, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: the shard is damaged ({reason}); restore the file, or build the store again"
            ) from error

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def has(self, column: str) -> NDArray[np.bool_]:
        """Which structures have a value in a column, [F]."""
        bitmap = self.columns[column].buffers()[0]
        if bitmap is None:
            return np.ones(len(self), dtype=bool)
        return np.unpackbits(np.frombuffer(bitmap, np.uint8), count=len(self), bitorder="little").astype(bool)

    def info_of(self, index: int) -> dict[str, Any]:
        """What the file said of structure ``index`` beside its labels."""
        info: dict[str, Any] = json.loads(self.columns["info"][index].as_py())
        return info

    def _values(self, column: str, buffer: int, dtype: type) -> NDArray[Any]:
        """A buffer of a column as it is: values whether there or not, or offsets."""
        length = len(self.columns[column]) + (dtype is np.int32 and column in ("numbers", "forces"))
        return np.frombuffer(self.columns[column].buffers()[buffer], dtype)[:length]


def _vectors(column: pa.FixedSizeListArray) -> NDArray[Any]:
    return np.asarray(column.values.to_numpy()).reshape(-1, column.type.list_size)
