"""Which colour stands for which data set, group, element or combination of elements: the same in every panel."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equinet.elements import SYMBOLS
from equinet.training.evaluation import FramePrediction
from equinet.training.report.results import DataSet
from equinet.training.report.style import PALETTE

OTHERS = "others"
"""What the palette has no colour for."""


@dataclass(frozen=True)
class Categories:
    """What each value of a quantity belongs to, by the place of its colour in the palette."""

    names: Mapping[int, str]  # of the places that occur, ascending
    index: NDArray[np.int64]  # [n] places


class Coloring:
    """Places in the palette, for all frames of a test.

    Data sets have theirs in the order given, groups and elements by how many frames and atoms they have. A combination
    of elements has a place that no single element needs.

    Args:
        data_sets: with predictions.
        by: an info key that makes groups, if any.
    """

    def __init__(self, data_sets: Sequence[DataSet], by: str | None) -> None:
        frames = [frame for data_set in data_sets for frame in data_set.frames]
        self.by = by
        self.data_sets = _places([data_set.name for data_set in data_sets])
        self.groups = _places(_by_frequency(Counter(self.group(frame) for frame in frames)))
        atoms = np.bincount(np.concatenate([frame.record.numbers for frame in frames]), minlength=len(SYMBOLS))
        self.elements = _places([SYMBOLS[z] for z in np.argsort(-atoms, kind="stable").tolist() if atoms[z]])
        systems = _by_frequency(Counter(map(system, frames)))
        self.systems = {name: self.elements[name] for name in systems if name in self.elements}
        free = [place for place in range(len(PALETTE)) if place not in self.systems.values()]
        mixed = [name for name in systems if name not in self.elements]
        self.systems |= {name: free[k] if k < len(free) else len(PALETTE) for k, name in enumerate(mixed)}

    def group(self, frame: FramePrediction) -> str:
        """The group of a frame."""
        return "" if self.by is None else str(frame.record.info.get(self.by, "(none)"))

    def of_frames(self, pairs: Sequence[tuple[str, FramePrediction]], counts: Sequence[int]) -> dict[str, Categories]:
        """Categories of values that belong to frames.

        Args:
            pairs: name of the data set, and frame.
            counts: values of each frame.

        Returns:
            By "data set", "group" and "element" (the combination).
        """
        return {
            "data set": categorize([name for name, _ in pairs], counts, self.data_sets),
            "group": categorize([self.group(frame) for _, frame in pairs], counts, self.groups),
            "element": categorize([system(frame) for _, frame in pairs], counts, self.systems),
        }


def system(frame: FramePrediction) -> str:
    """The elements a frame is made of, "O-Si"."""
    return "-".join(SYMBOLS[z] for z in np.unique(frame.record.numbers).tolist())


def categorize(names: Sequence[str], counts: Sequence[int], places: Mapping[str, int]) -> Categories:
    """Look names up; each is that of so many values in a row."""
    of_places: dict[int, str] = {}
    for name in dict.fromkeys(names):
        of_places[places[name]] = name if places[name] < len(PALETTE) else OTHERS
    index = np.array([places[name] for name in names], dtype=np.int64)
    return Categories(dict(sorted(of_places.items())), np.repeat(index, counts))


def _by_frequency(counts: Counter[str]) -> list[str]:
    return [name for name, _ in counts.most_common()]


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: min(place, len(PALETTE)) for place, name in enumerate(names)}
