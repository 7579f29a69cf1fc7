"""The structures a model is most wrong about: which, by how much, and a file of them to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equinet.data import make_example
from equinet.data.writing import ComparedFrame, write_compared
from equinet.elements import SYMBOLS
from equinet.graph import NearestPair, nearest_pair
from equinet.training.evaluation import FramePrediction
from equinet.training.report.results import DataSet
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

BY_FORCES, BY_ENERGY = "force RMSE", "energy error per atom"
UNITS = {BY_FORCES: "meV/Å", BY_ENERGY: "meV/atom"}


@dataclass(frozen=True)
class WorstFrame:
    """One structure among the worst.

    Attributes:
        rank: 1 is the worst.
        reason: by which measure: BY_FORCES or BY_ENERGY.
        error: in UNITS[reason]; that of the energy with its sign, predicted minus reference.
        data_set: name.
        frame: labels and predictions.
        nearest: the two atoms nearest to each other; None where all are farther apart than the cutoff.
    """

    rank: int
    reason: str
    error: float
    data_set: str
    frame: FramePrediction
    nearest: NearestPair | None

    @property
    def formula(self) -> str:
        """Hill's order: carbon, hydrogen, then the alphabet; without carbon the alphabet."""
        numbers, counts = np.unique(self.frame.record.numbers, return_counts=True)
        of = {SYMBOLS[z]: n for z, n in zip(numbers.tolist(), counts.tolist(), strict=True)}
        first = [symbol for symbol in ("C", "H") if "C" in of and symbol in of]
        order = first + sorted(of.keys() - set(first))
        return "".join(f"{symbol}{of[symbol] if of[symbol] > 1 else ''}" for symbol in order)

    @property
    def shortest(self) -> str:
        """The shortest distance and between whom, for people to read."""
        if self.nearest is None:
            return "none within the cutoff"
        first, second = (SYMBOLS[z] for z in self.nearest.numbers)
        return f"{self.nearest.distance:.3f} Å {first}\N{EN DASH}{second}"


def worst_frames(data_sets: Sequence[DataSet], count: int, cutoff: float) -> dict[str, list[WorstFrame]]:
    """The worst structures by each measure, the worst first; a measure without labels has none.

    Args:
        data_sets: with predictions.
        count: how many at most by each measure.
        cutoff: Angstrom; distances beyond are not searched for.
    """
    pairs = [(data_set.name, frame) for data_set in data_sets for frame in data_set.frames]
    found = {}
    for reason, measure in ((BY_FORCES, force_rmse), (BY_ENERGY, energy_error_per_atom)):
        errors = [(measure(frame), name, frame) for name, frame in pairs]
        known = [(error, name, frame) for error, name, frame in errors if error is not None]
        known.sort(key=lambda row: -abs(row[0]))
        found[reason] = [
            WorstFrame(rank, reason, error, name, frame, nearest_pair(make_example(frame.record, cutoff).graph))
            for rank, (error, name, frame) in enumerate(known[:count], start=1)
        ]
    return found


def force_rmse(frame: FramePrediction) -> float | None:
    """Root mean square error of a frame's force components, meV/Angstrom; None without labels."""
    if frame.record.forces is None:
        return None
    return MEV_PER_EV * float(np.sqrt(np.mean((frame.forces - frame.record.forces) ** 2)))


def energy_error_per_atom(frame: FramePrediction) -> float | None:
    """Predicted minus reference, meV/atom; None without a label."""
    if frame.record.energy is None:
        return None
    return MEV_PER_EV * (frame.energy - frame.record.energy) / len(frame.record.numbers)


def stress_rmse(frame: FramePrediction) -> float | None:
    """Root mean square error of the nine stress components, GPa; None without a label."""
    if frame.record.stress is None or frame.stress is None:
        return None
    return EV_PER_A3_IN_GPA * float(np.sqrt(np.mean((frame.stress - frame.record.stress) ** 2)))


def write_worst(worst: dict[str, list[WorstFrame]], path: Path) -> None:
    """Write the structures with labels and predictions, extended XYZ, in the order of the tables."""
    write_compared(path, [_compared(one) for frames in worst.values() for one in frames])


def _compared(one: WorstFrame) -> ComparedFrame:
    frame = one.frame
    facts: dict[str, Any] = {
        "rank": one.rank,
        "reason": one.reason,
        "data_set": one.data_set,
        "source": frame.record.source,
        "force_rmse_mev_per_angstrom": force_rmse(frame),
        "energy_error_mev_per_atom": energy_error_per_atom(frame),
        "stress_rmse_gpa": stress_rmse(frame),
        "shortest_distance_angstrom": None if one.nearest is None else one.nearest.distance,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return ComparedFrame(frame.record, frame.energy, frame.forces, frame.stress, known)
