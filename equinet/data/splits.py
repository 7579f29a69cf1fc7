"""Parts of a data set: for training, validation and test; isolated atoms apart from structures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equinet.data.columns import columns_of
from equinet.data.record import Record
from equinet.errors import InputError


def separate_isolated_atoms(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Return (isolated-atom frames, all others), in memory; :func:`isolated_indices` reads nothing.

    The first fix E0 and are nothing to train on: without an edge, an isolated atom gets E0 by construction.
    """
    isolated = [record for record in records if record.is_isolated_atom]
    return isolated, [record for record in records if not record.is_isolated_atom]


def isolated_indices(records: Sequence[Record]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which are (isolated-atom frames, all others), ascending; records of a store are not read for it."""
    isolated = columns_of(records).is_isolated_atom
    return np.flatnonzero(isolated), np.flatnonzero(~isolated)


def split_indices(records: Sequence[Record], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split a validation part off at random; the same seed gives the same split. Nothing is read of a store.

    Isolated-atom frames always stay in the first part. Frames are drawn one by one: where neighbours in a
    file come from one trajectory, give a validation file of your own for errors on unseen trajectories.

    Args:
        records: what was read.
        fraction: share of the frames to split off, 0 < fraction < 1; at least one frame goes to each side.
        seed: any integer >= 0.

    Returns:
        Which records are for (training, validation), ascending.

    Raises:
        InputError: fraction out of range; fewer than two frames to divide.
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    candidates = isolated_indices(records)[1]
    if len(candidates) < 2:
        raise InputError(
            f"{len(candidates)} frames cannot be divided into training and validation; give a validation file"
        )
    count = min(max(round(fraction * len(candidates)), 1), len(candidates) - 1)
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:count]
    validation = np.sort(candidates[chosen])
    return np.setdiff1d(np.arange(len(records)), validation, assume_unique=True), validation


def split_records(records: Sequence[Record], fraction: float, seed: int) -> tuple[list[Record], list[Record]]:
    """:func:`split_indices`, the records themselves: for sets that fit in memory."""
    train, validation = split_indices(records, fraction, seed)
    return [records[int(i)] for i in train], [records[int(i)] for i in validation]
