"""Are the shards of a store what was written?"""

from collections.abc import Callable

from equinet.data.store.store import Store
from equinet.errors import InputError
from equinet.files import sha256

VERIFIED_BYTES = 4_000_000_000
"""Stores up to this size are verified at the start of a run, in seconds; larger ones by ``equinet data check``."""


def verify_checksums(store: Store, done: Callable[[int], None] = lambda count: None) -> None:
    """Compare every shard's SHA-256 with the manifest's.

    Args:
        store: whose sizes were right when it was opened.
        done: told the number of shards looked at so far.

    Raises:
        InputError: shards that differ, by name.
    """
    damaged = []
    for number, entry in enumerate(store.manifest.shards):
        if sha256(store.path / entry.file) != entry.sha256:
            damaged.append(entry.file)
        done(number + 1)
    if damaged:
        raise InputError(
            f"{store.path}: wrong checksum of {', '.join(damaged)}: damaged after writing; restore the files, or "
            "build the store again"
        )
