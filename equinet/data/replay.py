"""Structures of the data a potential was trained on, met again while it is trained on others, so that it forgets less.

What a sampler or a loss needs to tell the sets apart stands in each record's info: the data set's name, a weight, and
the level of theory where there are several.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from equinet.data.energy_shift import EnergyShift
from equinet.data.record import Record
from equinet.data.weights import REPLAY_WEIGHT_KEY
from equinet.errors import InputError

DATA_SET_KEY = "data_set"
"""Of a record's info: the name of the set it is of."""


def draw_replay(records: Sequence[Record], count: int, turns: int, seed: int) -> list[Record]:
    """Draw structures at random, each once; the same seed gives the same, and a larger count the same and more.

    Args:
        records: of the original data; isolated atoms are not drawn.
        count: how many are wanted at once.
        turns: for so many times, or as often as there are enough.
        seed: any integer >= 0.

    Returns:
        The records in the order of the file.

    Raises:
        InputError: fewer than are wanted at once.
    """
    candidates = [record for record in records if not record.is_isolated_atom]
    if count > len(candidates):
        raise InputError(
            f"{count} structures are to be replayed, but there are {len(candidates)}; "
            "give a lower data.replay.ratio, or more structures"
        )
    chosen = np.random.default_rng(seed).permutation(len(candidates))[: count * turns]
    return [candidates[i] for i in sorted(chosen.tolist())]


def mark(records: Sequence[Record], data_set: str, weight: float = 1.0, **info: Any) -> list[Record]:
    """Copies whose info names their data set and weight.

    Args:
        records: any.
        data_set: name of the set.
        weight: of each of them in the loss, times what the user's own keys say.
        info: more for each record, as ``modal="PBE"``.
    """
    marks = {**info, DATA_SET_KEY: data_set, REPLAY_WEIGHT_KEY: weight}
    return [replace(record, info={**record.info, **marks}) for record in records]


def shift_labels(records: Sequence[Record], shift: EnergyShift) -> list[Record]:
    """Copies whose energies are shifted as those of the potential were, so that they mean to it what they meant."""
    return [
        record if record.energy is None else replace(record, energy=record.energy + shift.of(record.numbers))
        for record in records
    ]
