"""Labels and predictions of all frames as flat arrays, with what each value belongs to: what figures are drawn of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equinet.elements import SYMBOLS
from equinet.training.evaluation import FramePrediction
from equinet.training.report.categories import Categories, Coloring, categorize
from equinet.training.report.results import DataSet
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """One labelled quantity. Empty arrays where there are no labels."""

    name: str  # "energy", "forces", "stress"
    label: str  # of an axis, without its unit
    unit: str
    error_unit: str
    error_factor: float  # from unit to error_unit
    reference: Array  # [n]
    predicted: Array  # [n]
    categories: dict[str, Categories] = field(default_factory=dict)  # by "data set", "element", "group"

    @property
    def errors(self) -> Array:
        """Predicted minus reference, in ``error_unit``, [n]."""
        return self.error_factor * (self.predicted - self.reference)


def quantities(
    data_sets: Sequence[DataSet], isolated_energies: Callable[[FramePrediction], float], by: str | None
) -> list[Quantity]:
    """Energy per atom relative to isolated atoms, force components and stress components of all frames.

    Args:
        data_sets: with predictions.
        isolated_energies: sum of the isolated atoms' energies of a frame, eV.
        by: an info key that makes groups.
    """
    pairs = [(data_set.name, frame) for data_set in data_sets for frame in data_set.frames]
    energy = [pair for pair in pairs if pair[1].record.energy is not None]
    forces = [pair for pair in pairs if pair[1].record.forces is not None]
    stress = [pair for pair in pairs if pair[1].record.stress is not None and pair[1].stress is not None]

    def per_atom(frame: FramePrediction, value: float | None) -> Array:
        assert value is not None
        return np.array([(value - isolated_energies(frame)) / len(frame.record.numbers)])

    coloring = Coloring(data_sets, by)
    atoms = [SYMBOLS[z] for _, frame in forces for z in frame.record.numbers.tolist()]
    of_forces = coloring.of_frames(forces, [3 * len(frame.record.numbers) for _, frame in forces])
    return [
        Quantity(
            "energy",
            "energy",
            "eV/atom",
            "meV/atom",
            MEV_PER_EV,
            _flat([per_atom(frame, frame.record.energy) for _, frame in energy]),
            _flat([per_atom(frame, frame.energy) for _, frame in energy]),
            coloring.of_frames(energy, [1] * len(energy)),
        ),
        Quantity(
            "forces",
            "force",
            "eV/Å",
            "meV/Å",
            MEV_PER_EV,
            _flat([frame.record.forces for _, frame in forces]),
            _flat([frame.forces for _, frame in forces]),
            of_forces | {"element": categorize(atoms, [3] * len(atoms), coloring.elements)},
        ),
        Quantity(
            "stress",
            "stress",
            "GPa",
            "GPa",
            1.0,
            _flat([EV_PER_A3_IN_GPA * _six(frame.record.stress) for _, frame in stress]),
            _flat([EV_PER_A3_IN_GPA * _six(frame.stress) for _, frame in stress]),
            coloring.of_frames(stress, [6] * len(stress)),
        ),
    ]


def force_vectors(data_sets: Sequence[DataSet]) -> tuple[Array, Array]:
    """Labels and predictions of all forces, [n, 3] eV/Angstrom."""
    frames = [frame for data_set in data_sets for frame in data_set.frames if frame.record.forces is not None]
    labels = [frame.record.forces for frame in frames if frame.record.forces is not None]
    empty = np.zeros((0, 3))
    return np.concatenate([empty, *labels]), np.concatenate([empty, *(frame.forces for frame in frames)])


def angles(reference: Array, predicted: Array) -> Array:
    """Angles between two sets of vectors, [n] degrees; NaN where a vector has no length."""
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(predicted, axis=1)
    cosine = np.full(len(lengths), np.nan)
    np.divide((reference * predicted).sum(axis=1), lengths, out=cosine, where=lengths > 0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _flat(values: Sequence[Array | None]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(value) for value in values if value is not None)])


def _six(stress: Array | None) -> Array:
    """The six different components of a stress."""
    assert stress is not None
    return stress[np.triu_indices(3)]
