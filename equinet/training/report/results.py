"""What was tested on what: the predictions and errors of one model on one or several data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equinet.data import ReadReport
from equinet.errors import InputError
from equinet.models.facts import ModelFacts
from equinet.training.evaluation import Evaluation, FramePrediction, compare


@dataclass(frozen=True)
class DataSet:
    """One file of labelled structures, what the model says of them, and how wrong it is."""

    name: str
    sha256: str
    reading: ReadReport
    frames: Sequence[FramePrediction]
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Errors, and where the labels came from; plain values."""
        return self.evaluation.to_json() | {"data": self.reading.to_dict() | {"sha256": self.sha256}}


@dataclass(frozen=True)
class Results:
    """Everything a report tells.

    Attributes:
        model: what was tested.
        data_sets: at least one.
        together: errors over all data sets as one; those of the data set where there is one only.
        by: the info key of the groups, if any.
        date: when, ISO 8601.
        versions: of this package and of what the numbers depend on.
        uncertainty: what was found of error bars, by data set, JSON-able; empty where none were tested.
    """

    model: ModelFacts
    data_sets: Sequence[DataSet]
    together: Evaluation
    by: str | None
    date: str
    versions: dict[str, str]
    uncertainty: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the errors of all frames, then, where there are several, those of each data set."""
        if len(self.data_sets) == 1:
            values = self.data_sets[0].to_json()
        else:
            values = self.together.to_json()
            values["data_sets"] = {data_set.name: data_set.to_json() for data_set in self.data_sets}
        if self.uncertainty:
            values["uncertainty"] = dict(self.uncertainty)
        return values | {
            "model": self.model.file,
            "model_sha256": self.model.sha256,
            "modal": self.model.modal,
            "dtype": self.model.dtype,
            "by": self.by,
            "date": self.date,
            "versions": self.versions,
        }


def compare_data_sets(
    predicted: Sequence[tuple[str, str, ReadReport, Sequence[FramePrediction]]], by: str | None
) -> tuple[list[DataSet], Evaluation]:
    """Errors of each data set, and of all frames together.

    Args:
        predicted: name, SHA-256, report of the reading and predictions of each.
        by: an info key; errors are given for each of its values as well.

    Raises:
        InputError: an info key that no frame of any data set has.
    """
    together = compare([frame for *_, frames in predicted for frame in frames], by)
    data_sets = []
    for name, digest, reading, frames in predicted:
        has_key = any(by in frame.record.info for frame in frames)
        data_sets.append(DataSet(name, digest, reading, frames, compare(frames, by if has_key else None)))
    return data_sets, data_sets[0].evaluation if len(data_sets) == 1 else together


def data_set_names(paths: Sequence[Path]) -> list[str]:
    """Names of data sets: the stem of each file, with as many folders before it as tell those with the same stem apart.

    Raises:
        InputError: the same file twice.
    """
    resolved = [path.resolve() for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise InputError(f"{path} is given twice; give each file once")
    names = [_stem(path) for path in resolved]
    for folders in range(1, max(len(path.parts) for path in resolved)):
        alike = {name for name in names if names.count(name) > 1}
        names = [
            "/".join([*path.parts[-1 - folders : -1], _stem(path)]) if name in alike else name
            for name, path in zip(names, resolved, strict=True)
        ]
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, resolved, strict=True)]


def _stem(path: Path) -> str:
    """The name without the suffixes of a file of structures, compression included."""
    name = path.name
    for suffix in (".gz", ".bz2", ".xz", ".extxyz", ".xyz", ".db", ".traj", ".json", ".xml"):
        name = name.removesuffix(suffix) or name
    return name
