"""Edges of every structure's graph, counted without building graphs."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from equinet.data.chunks import map_chunks
from equinet.data.columns import IndexedRecords
from equinet.data.record import Record
from equinet.errors import InputError
from equinet.graph import Neighbors, count_neighbors


def neighbors_of(record: Record, cutoff: float) -> Neighbors:
    """Edges at each atom of a structure, and the shortest of them.

    Raises:
        InputError: two atoms at one place, or a cell that cannot be, with the file and the frame.
    """
    try:
        return count_neighbors(record.positions, record.cell, record.pbc, cutoff)
    except InputError as error:
        raise InputError(f"{record.source}: {error}") from error


def edge_counts(records: Sequence[Record], cutoff: float) -> NDArray[np.int64]:
    """Edges of each structure's graph, [F]; a store keeps them (:meth:`equinet.data.Store.edge_counts`).

    Args:
        records: any sequence.
        cutoff: Angstrom.

    Raises:
        InputError: a structure no graph can be built of.
    """
    if isinstance(records, IndexedRecords):
        return records.edge_counts(cutoff)
    return count_edges(records, cutoff)


def count_edges(
    records: Sequence[Record],
    cutoff: float,
    workers: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> NDArray[np.int64]:
    """Count the edges of each structure's graph, in several processes where there are many.

    Args:
        records: any sequence.
        cutoff: Angstrom.
        workers: as for :func:`equinet.data.chunks.map_chunks`.
        done: told the number of structures counted so far.

    Returns:
        [F].

    Raises:
        InputError: a structure no graph can be built of.
    """
    parts = list(map_chunks(records, partial(_count, cutoff=cutoff), workers, done))
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _count(records: Sequence[Record], start: int, stop: int, cutoff: float) -> NDArray[np.int64]:
    return np.array([neighbors_of(records[i], cutoff).counts.sum() for i in range(start, stop)], dtype=np.int64)
