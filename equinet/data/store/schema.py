"""What a shard of a store holds, as an Arrow schema: one row per structure.

Any tool that reads Arrow IPC files reads a shard, ``pandas.read_feather("shard-000000.arrow")`` for instance.
"""

import pyarrow as pa

FORMAT_VERSION = 1

UNITS = {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom", "virial": "eV; -dE/dstrain = -volume * stress"}

_VECTORS = pa.list_(pa.list_(pa.field("item", pa.float64(), nullable=False), 3))
_TENSOR = pa.list_(pa.field("item", pa.float64(), nullable=False), 9)


def _field(name: str, kind: pa.DataType, what: str, optional: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=optional, metadata={"description": what})


SCHEMA = pa.schema(
    [
        _field("numbers", pa.list_(pa.field("item", pa.uint8(), nullable=False)), "[N] atomic numbers"),
        _field("positions", _VECTORS, "[N, 3] Angstrom"),
        _field("cell", _TENSOR, "[3, 3] Angstrom, rows are lattice vectors"),
        _field("pbc", pa.list_(pa.field("item", pa.uint8(), nullable=False), 3), "[3] 1 where periodic"),
        _field("energy", pa.float64(), "eV, of the whole structure", optional=True),
        _field("forces", _VECTORS, "[N, 3] eV/Angstrom", optional=True),
        _field("virial", _TENSOR, "[3, 3] eV, -dE/dstrain = -volume * stress", optional=True),
        _field("info", pa.string(), "what else the file says of the frame, as JSON"),
        _field("file", pa.int32(), "number of the file it came from, in the manifest's list"),
        _field("frame", pa.int64(), "number of the frame in that file, from 0"),
        _field("energy_key", pa.dictionary(pa.int16(), pa.string()), "the key the energy was read from", optional=True),
    ],
    metadata={"format": "equinet store", "format_version": str(FORMAT_VERSION), **UNITS},
)
"""Absent labels are nulls."""
