"""Whatever a user names as data, opened: a file in memory, a store on disk, a named part of a store."""

from collections.abc import Sequence
from pathlib import Path

from equinet.data.columns import IndexedRecords, Subset
from equinet.data.keys import LabelKeys
from equinet.data.labels import ReadReport
from equinet.data.reader import RecordSet, read_records
from equinet.data.record import Record
from equinet.data.store.manifest import MANIFEST
from equinet.data.store.splits import open_split
from equinet.data.store.store import Store
from equinet.errors import InputError
from equinet.files import content_sha256, whole_and_part


def open_records(path: str | Path, keys: LabelKeys | None = None) -> RecordSet | Store | Subset:
    """Open labelled structures: a store stays on disk, any other file is read.

    Args:
        path: a store; ``STORE:NAME``, a split of one; or anything :func:`read_records` reads.
        keys: names of the keys that hold the labels of a file; those of a store were chosen when it was built.

    Raises:
        InputError: as :class:`Store` or :func:`read_records`; keys named for a store.
    """
    store = open_store(path)
    if store is None:
        return read_records(path, keys)
    if keys is not None and keys != LabelKeys():
        raise InputError(f"{path}: the labels of a store were chosen when it was built; leave data.keys out")
    return store


def open_store(path: str | Path) -> Store | Subset | None:
    """Open a store, or ``STORE:NAME``, a split of one; None where the path names neither.

    Raises:
        InputError: as :class:`Store`; no such split.
    """
    folder, name = whole_and_part(Path(path))
    if not is_store(folder):
        return None
    return open_split(folder, name) if name else Store(folder)


def is_store(path: Path) -> bool:
    """Whether a folder is a store, whole or not, and not one of DeePMD-kit."""
    return path.is_dir() and ((path / MANIFEST).exists() or any(path.glob("*shard-*")))


def store_of(records: Sequence[Record]) -> Store | None:
    """The store that records lie in; None where they are in memory."""
    whole = records.records if isinstance(records, Subset) else records
    return whole if isinstance(whole, Store) else None


def checksum(records: Sequence[Record], path: str | Path) -> str:
    """SHA-256 of what was opened: of a file or folder; of a store's manifest, which holds those of its shards.

    Args:
        records: as :func:`open_records` returned them.
        path: as it was given.
    """
    store = store_of(records)
    return content_sha256(Path(path)) if store is None else store.fingerprint


def reading(records: RecordSet | Store | Subset, path: str | Path) -> ReadReport:
    """How what was opened was read; the labels of a store were chosen and reported when it was built."""
    if not isinstance(records, IndexedRecords):
        return records.report
    columns = records.columns
    counts = {
        "energy": int(columns.has_energy.sum()),
        "forces": int(columns.has_forces.sum()),
        "virial": int(columns.has_virial.sum()),
    }
    return ReadReport(
        path=str(path),
        frames=len(records),
        unlabelled=0,
        keys=LabelKeys(**{name: "the store" if count else None for name, count in counts.items()}),
        frames_with_energy=counts["energy"],
        frames_with_forces=counts["forces"],
        frames_with_virial=counts["virial"],
        free_energy_differs=0,
        stress_ignored=0,
    )
