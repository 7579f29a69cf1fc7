"""Whatever a user names as data, opened: a file in memory, a store on disk, a named part of a store."""

from pathlib import Path

from equinet.data.columns import Subset
from equinet.data.keys import LabelKeys
from equinet.data.reader import RecordSet, read_records
from equinet.data.store.manifest import MANIFEST
from equinet.data.store.splits import open_split
from equinet.data.store.store import Store
from equinet.errors import InputError


def open_records(path: str | Path, keys: LabelKeys | None = None) -> RecordSet | Store | Subset:
    """Open labelled structures: a store stays on disk, any other file is read.

    Args:
        path: a store; ``STORE:NAME``, a split of one; or anything :func:`read_records` reads.
        keys: names of the keys that hold the labels of a file; those of a store were chosen when it was built.

    Raises:
        InputError: as :class:`Store` or :func:`read_records`; keys named for a store.
    """
    path = Path(path)
    folder, name = path, ""
    if not path.exists() and ":" in path.name:
        stem, name = path.name.rsplit(":", 1)
        folder = path.with_name(stem) if stem else path.parent
    if not is_store(folder):
        return read_records(path, keys)
    if keys is not None and keys != LabelKeys():
        raise InputError(f"{path}: the labels of a store were chosen when it was built; leave data.keys out")
    return open_split(folder, name) if name else Store(folder)


def is_store(path: Path) -> bool:
    """Whether a folder is a store, whole or not, and not one of DeePMD-kit."""
    return path.is_dir() and ((path / MANIFEST).exists() or any(path.glob("*shard-*")))
