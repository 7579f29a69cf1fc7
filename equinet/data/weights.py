"""How much a frame counts in the loss: a number of its own, times that of its group (data set, phase, temperature)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

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
        InputError: a negative weight, or weights of groups without ``group_key``.
    """

    key: str | None = None
    group_key: str | None = None
    by_group: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group, weight in self.by_group.items():
            _check(weight, f"data.weights.by_group.{group}")
        if self.by_group and self.group_key is None:
            raise InputError("data.weights.by_group needs data.weights.group_key, the info key that names the group")

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


def _check(value: object, what: str) -> float:
    try:
        weight = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        raise InputError(f"{what} is {value!r}; a weight must be zero or a positive number")
    return weight
