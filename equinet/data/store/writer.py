"""Structures gathered in memory until they fill a shard, and the shard written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from equinet.data.record import Record
from equinet.data.store.manifest import ShardEntry
from equinet.data.store.schema import SCHEMA
from equinet.elements import SYMBOLS
from equinet.files import replacing, sha256


@dataclass(frozen=True)
class Limits:
    """When a shard is full: as soon as it has so many structures, or so many bytes."""

    structures: int = 100_000
    bytes: int = 64 * 2**20


@dataclass(frozen=True)
class Entry:
    """A structure waiting to be written."""

    record: Record
    info: str  # JSON
    file: int
    frame: int

    @property
    def bytes(self) -> int:
        """About as many as it will take on disk."""
        atoms = len(self.record.numbers)
        return atoms * (25 + 24 * (self.record.forces is not None)) + len(self.info) + 200


def make_entry(record: Record, file: int, frame: int) -> Entry:
    """Take what is to be written of a record.

    Args:
        record: one structure.
        file: number of its file in the manifest.
        frame: its number in that file.
    """
    return Entry(record, json.dumps(record.info, default=_plain) if record.info else "{}", file, frame)


def _plain(value: Any) -> Any:
    """Numpy's arrays and numbers as lists and numbers, anything else as text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def write_shard(path: Path, entries: Sequence[Entry]) -> ShardEntry:
    """Write a shard: whole or not at all, and on the disk when this returns.

    Args:
        path: of the shard.
        entries: at least one.
    """
    batch = _batch(entries)
    with replacing(path) as partial:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as file:
            file.write_batch(batch)
        size, checksum = partial.stat().st_size, sha256(partial)
    records = [entry.record for entry in entries]
    present = np.zeros(256, dtype=int)
    for record in records:
        present[np.unique(record.numbers)] += 1
    return ShardEntry(
        file=path.name,
        structures=len(records),
        atoms=sum(len(record.numbers) for record in records),
        bytes=size,
        sha256=checksum,
        first_file=min(entry.file for entry in entries),
        last_file=max(entry.file for entry in entries),
        elements={SYMBOLS[z]: int(present[z]) for z in np.flatnonzero(present)},
        with_energy=sum(record.energy is not None for record in records),
        with_forces=sum(record.forces is not None for record in records),
        with_stress=sum(record.virial is not None and bool(record.pbc.all()) for record in records),
        with_virial=sum(record.virial is not None for record in records),
    )


def _batch(entries: Sequence[Entry]) -> pa.RecordBatch:
    records = [entry.record for entry in entries]
    sizes = np.array([len(record.numbers) for record in records])
    forced = np.array([record.forces is not None for record in records])
    virials = [record.virial for record in records]
    tensors = np.array([np.zeros((3, 3)) if virial is None else virial for virial in virials])
    no_virial = np.array([virial is None for virial in virials])
    forces = [record.forces for record in records if record.forces is not None]
    columns = {
        "numbers": _lists(sizes, np.concatenate([record.numbers for record in records]).astype(np.uint8)),
        "positions": _lists(sizes, np.concatenate([record.positions for record in records])),
        "cell": _fixed(np.array([record.cell for record in records]), 9),
        "pbc": _fixed(np.array([record.pbc for record in records]).astype(np.uint8), 3),
        "energy": pa.array([record.energy for record in records], pa.float64()),
        "forces": _lists(sizes * forced, np.concatenate([*forces, np.zeros((0, 3))]), ~forced),
        "virial": _fixed(tensors, 9, no_virial),
        "info": pa.array([entry.info for entry in entries], pa.string()),
        "file": pa.array([entry.file for entry in entries], pa.int32()),
        "frame": pa.array([entry.frame for entry in entries], pa.int64()),
        "energy_key": pa.array([record.energy_key for record in records], SCHEMA.field("energy_key").type),
    }
    return pa.RecordBatch.from_arrays(
        [columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA
    )


def _fixed(values: np.ndarray, size: int, absent: np.ndarray | None = None) -> pa.Array:
    mask = pa.array(absent) if absent is not None and absent.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size, mask=mask)


def _lists(sizes: np.ndarray, values: np.ndarray, absent: np.ndarray | None = None) -> pa.Array:
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    items = pa.array(values) if values.ndim == 1 else _fixed(values, values.shape[1])
    mask = pa.array(absent) if absent is not None and absent.any() else None
    return pa.ListArray.from_arrays(offsets, items, mask=mask)
