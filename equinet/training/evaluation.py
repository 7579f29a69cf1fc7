"""Errors of a potential on labelled structures: energies, forces, stresses, with bootstrap intervals over frames.

Needs no Lightning: ``equinet test`` and user scripts call it directly.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equinet.data import Record, make_example
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.graph import AtomicGraph
from equinet.models import Potential
from equinet.models.inference import predict_graphs
from equinet.training.bootstrap import ErrorTable
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FramePrediction:
    """What the potential says of one frame, beside its labels (None where there is none)."""

    record: Record
    energy: float  # eV
    forces: Array  # [N, 3] eV/A
    stress: Array | None  # [3, 3] eV/A^3; None unless periodic in three directions


def predict_records(
    potential: Potential,
    records: Sequence[Record],
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> list[FramePrediction]:
    """Predict energy, forces and stress of every record, in its order.

    Args:
        potential: used in eval mode, on the device it is on; its mode is restored.
        records: structures; their labels are not looked at.
        batch_size: structures at a time.
        progress: called with the number of frames done.

    Raises:
        InputError: an element the potential does not know, with the frame.
    """
    results = predict_graphs(potential, graphs_of(potential, records), batch_size, progress)
    return [
        FramePrediction(record, result.energy, result.forces, result.stress)
        for record, result in zip(records, results, strict=True)
    ]


def graphs_of(potential: Potential, records: Iterable[Record]) -> Iterator[AtomicGraph]:
    """The graph of each record, one at a time.

    Raises:
        InputError: an element that the potential does not know, with the frame.
    """
    for record in records:
        try:
            potential.check_elements(torch.as_tensor(record.numbers))
        except InputError as error:
            raise InputError(f"{record.source}: {error}") from error
        yield make_example(record, potential.cutoff).graph


@dataclass
class Evaluation:
    """Errors over a set of frames. Keys of ``errors`` carry the unit; ``KEY_ci95`` is the interval of ``KEY``."""

    frames: int
    atoms: int
    counts: dict[str, int]  # frames with an energy, forces, stress label
    errors: dict[str, float]  # "force_mae_mev_per_angstrom": ...
    intervals: dict[str, tuple[float, float]]  # 95 %, bootstrap over frames; absent for a single frame
    per_element: dict[str, dict[str, float]] = field(default_factory=dict)  # of forces, and how many atoms have them
    groups: dict[str, "Evaluation"] = field(default_factory=dict)  # by the value of an info key

    def to_json(self) -> dict[str, Any]:
        """Plain values, intervals as ``KEY_ci95: [low, high]`` after each key."""
        values: dict[str, Any] = {"frames": self.frames, "atoms": self.atoms}
        values |= {f"frames_with_{name}": count for name, count in self.counts.items()}
        for key, value in self.errors.items():
            values[key] = value
            if key in self.intervals:
                values[f"{key}_ci95"] = list(self.intervals[key])
        if self.per_element:
            values["per_element"] = self.per_element
        if self.groups:
            values["groups"] = {name: group.to_json() for name, group in self.groups.items()}
        return values


def evaluate(
    potential: Potential,
    records: Sequence[Record],
    batch_size: int = 16,
    by: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Predict and compare with the labels.

    Args:
        potential: on the device to use.
        records: labelled structures; labels that are missing are left out, frame by frame.
        batch_size: structures at a time.
        by: an info key; errors are given for each of its values as well.
        progress: called with the number of frames done.

    Raises:
        InputError: no label in any frame; an unknown element; an info key that no frame has.
    """
    return compare(predict_records(potential, records, batch_size, progress), by)


def compare(frames: Sequence[FramePrediction], by: str | None = None) -> Evaluation:
    """Errors of predictions that are there already (see :func:`evaluate`)."""
    records = [frame.record for frame in frames]
    if all(r.energy is None and r.forces is None and r.virial is None for r in records):
        raise InputError("no frame has an energy, forces or stress label to compare with")
    evaluation = _errors(frames)
    evaluation.per_element = _force_errors_per_element(frames)
    if by is not None:
        groups: dict[str, list[FramePrediction]] = defaultdict(list)
        for frame in frames:
            groups[str(frame.record.info.get(by, "(none)"))].append(frame)
        if list(groups) == ["(none)"]:
            there = ", ".join(sorted({key for frame in frames for key in frame.record.info})) or "none"
            raise InputError(f"no frame has the info key {by!r}; keys in the file: {there}")
        evaluation.groups = {name: _errors(groups[name]) for name in sorted(groups)}
    return evaluation


def _errors(frames: Sequence[FramePrediction]) -> Evaluation:
    energy = [f for f in frames if f.record.energy is not None]
    forces = [f for f in frames if f.record.forces is not None]
    stress = [f for f in frames if f.record.stress is not None and f.stress is not None]
    energy_errors = np.array([f.energy - (f.record.energy or 0.0) for f in energy])
    per_atom = energy_errors / np.array([max(len(f.record.numbers), 1) for f in energy]) if energy else energy_errors
    force_errors = [f.forces - _label(f.record.forces) for f in forces]
    stress_errors = [_label(f.stress) - _label(f.record.stress) for f in stress]

    tables = [
        _table(per_atom, "energy_{}_mev_per_atom", MEV_PER_EV),
        _table(energy_errors, "energy_{}_mev", MEV_PER_EV),
        _table(force_errors, "force_{}_mev_per_angstrom", MEV_PER_EV),
        _table([np.linalg.norm(e, axis=1) for e in force_errors], "force_vector_{}_mev_per_angstrom", MEV_PER_EV),
        _table(stress_errors, "stress_{}_gpa", EV_PER_A3_IN_GPA),
        _table(stress_errors, "stress_{}_mev_per_a3", MEV_PER_EV),
    ]
    errors: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for table in tables:
        errors |= table.values()
        intervals |= table.intervals()
    labels = _table([_label(f.record.forces) for f in forces], "force_{}_mev_per_angstrom", MEV_PER_EV)
    if labels.counts.size:
        errors["force_rms_mev_per_angstrom"] = labels.rms()
    counts = {"energy": len(energy), "forces": len(forces), "stress": len(stress)}
    return Evaluation(len(frames), sum(len(f.record.numbers) for f in frames), counts, errors, intervals)


def _label(value: Array | None) -> Array:
    assert value is not None
    return value


def _table(errors: Iterable[Any], key: str, factor: float) -> ErrorTable:
    """Sums of each frame's errors; ``key`` has a place for "mae" or "rmse"."""
    frames = [factor * np.atleast_1d(error).ravel() for error in errors]
    return ErrorTable(
        key=key,
        counts=np.array([error.size for error in frames], dtype=np.float64),
        absolute=np.array([np.abs(error).sum() for error in frames]),
        squared=np.array([np.square(error).sum() for error in frames]),
    )


def _force_errors_per_element(frames: Sequence[FramePrediction]) -> dict[str, dict[str, float]]:
    by_element: dict[int, list[Array]] = defaultdict(list)
    labels: dict[int, list[Array]] = defaultdict(list)
    for frame in frames:
        if frame.record.forces is not None:
            for number in np.unique(frame.record.numbers).tolist():
                atoms = frame.record.numbers == number
                by_element[number].append((frame.forces - frame.record.forces)[atoms])
                labels[number].append(frame.record.forces[atoms])
    result = {}
    for number in sorted(by_element):
        table = _table(by_element[number], "force_{}_mev_per_angstrom", MEV_PER_EV)
        rms = _table(labels[number], "force_{}_mev_per_angstrom", MEV_PER_EV).rms()
        own = {"atoms": int(table.counts.sum()) // 3, "force_rms_mev_per_angstrom": rms}
        result[SYMBOLS[number]] = table.values() | own
    return result
