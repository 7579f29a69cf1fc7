"""How much a frame counts in the loss: a number of its own, times that of its group (data set, phase, temperature)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from equinet.data.columns import info_values
from equinet.data.record import Record
from equinet.errors import InputError

REPLAY_WEIGHT_KEY = "replay_weight"
"""Of the info of a structure that is replayed in fine-tuning (:mod:`equinet.data.replay`)."""


@dataclass(frozen=True)
class FrameWeights:
    """Weights of frames in the loss.

    Args:
        key: of each frame's info that holds its weight ("config_weight", say); null weighs all alike. A frame without
            it counts 1.
        group_key: of each frame's info that names its group.
        by_group: weight of every frame of a group, by the value of ``group_key``; 1 for groups not named.

    Raises:
        InputError: a negative weight, or one of weights of groups and ``group_key`` without the other.
    """

    key: str | None = None
    group_key: str | None = None
    by_group: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group, weight in self.by_group.items():
            _check(weight, f"data.weights.by_group.{group}")
        if self.by_group and self.group_key is None:
            raise InputError("data.weights.by_group needs data.weights.group_key, the info key that names the group")
        if self.group_key is not None and not self.by_group:
            raise InputError("data.weights.group_key needs data.weights.by_group, the weight of each group by its name")

    def check(self, sets: Sequence[Sequence[Record]]) -> None:
        """See before training that the keys are there and name what is meant.

        Args:
            sets: all records that there are, with those of a file that are not used.

        Raises:
            InputError: a key that no frame has; a group that none is of; a frame whose weight is none.
        """
        if self.key is not None:
            found = False
            for records in sets:
                for number, value in enumerate(info_values(records, self.key)):
                    if value is not None:
                        found = True
                        _check(value, f"{records[number].source}: its {self.key}")
            if not found:
                raise InputError(f"data.weights.key is {self.key!r}, which {_no_info(sets)}")
        if self.group_key is not None:
            values = {str(v) for records in sets for v in info_values(records, self.group_key) if v is not None}
            if not values:
                raise InputError(f"data.weights.group_key is {self.group_key!r}, which {_no_info(sets)}")
            unknown = sorted(self.by_group.keys() - values)
            if unknown:
                shown = ", ".join(sorted(values)[:8]) + (", ..." if len(values) > 8 else "")
                raise InputError(
                    f"data.weights.by_group names {', '.join(unknown)}, but no frame's {self.group_key} is that; "
                    f"there are {shown}"
                )

    def of(self, record: Record) -> float:
        """The weight of a record.

        Raises:
            InputError: it is not a number, or negative.
        """
        weight = float(record.info.get(REPLAY_WEIGHT_KEY, 1.0))
        if self.key is not None and self.key in record.info:
            weight *= _check(record.info[self.key], f"{record.source}: its {self.key}")
        if self.group_key is not None:
            weight *= self.by_group.get(str(record.info.get(self.group_key)), 1.0)
        return weight


def _no_info(sets: Sequence[Sequence[Record]]) -> str:
    """That the info of no frame has a key, and which it has."""
    keys = sorted({key for records in sets if len(records) for key in records[0].info} - {REPLAY_WEIGHT_KEY})
    return f"the info of no frame has; the first has {', '.join(keys) or 'none'}"


def _check(value: object, what: str) -> float:
    try:
        weight = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        shown = value.item() if isinstance(value, np.generic) else value
        raise InputError(f"{what} is {shown!r}; a weight must be zero or a positive number")
    return weight
