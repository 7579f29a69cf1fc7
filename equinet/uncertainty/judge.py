"""Judging an uncertainty on labelled frames that neither the model nor the calibration has seen."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.data import Record
from equinet.errors import InputError
from equinet.graph import atoms_per_graph
from equinet.uncertainty.estimate import METHODS, Uncertainty, variances
from equinet.uncertainty.frames import fingerprints, labelled_batches
from equinet.uncertainty.scores import CURVE, REJECTED, Scores, auroc, best_rejection, score
from equinet.units import MEV_PER_EV

Array = NDArray[np.float64]

OUTSIDE = 3.0
"""An error this many times the rmse of the calibration set is one outside what the model knows."""


@dataclass(frozen=True)
class Judgement:
    """Scores by method, of the energy per atom (meV/atom) or of force components (meV/Angstrom).

    Attributes:
        unit: of errors and standard deviations.
        methods: by the names of METHODS.
        best_possible: rmse left when the largest errors themselves are rejected, for the shares REJECTED.
        best_left: the same for the shares CURVE.
        outside: share of the values whose error is over OUTSIDE times the calibration set's rmse.
        auroc_support: area under the ROC curve of the support for these; of an energy, its least supported atom's.
        outside_by_support: share of the values with a support above 1, and how many of the errors outside are among
            them.
    """

    unit: str
    methods: dict[str, Scores]
    best_possible: dict[str, float]
    best_left: list[float]
    outside: float
    auroc_support: float | None
    outside_by_support: dict[str, float | None]


@dataclass(frozen=True)
class Verdict:
    """Everything that was found on a set of frames.

    Attributes:
        kind: of the uncertainty's source.
        frames: how many.
        frames_used_before: how many of them are in the training or the calibration set: such a verdict flatters.
        energy: None without energy labels.
        forces: None without force labels.
    """

    kind: str
    frames: int
    frames_used_before: int
    energy: Judgement | None
    forces: Judgement | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(
    uncertainty: Uncertainty,
    records: Sequence[Record],
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Compare standard deviations with errors.

    Args:
        uncertainty: of the model, whose errors these are; of a committee, of the mean of its members.
        records: labelled frames.
        batch_size: structures at a time.
        progress: called with the number of frames done.

    Raises:
        InputError: no energy and no force label; an element that the model does not know.
    """
    if all(record.energy is None and record.forces is None for record in records):
        raise InputError("no frame has an energy or forces to judge the uncertainty by")
    energy, forces = _Collected(), _Collected()
    done = 0
    for graph, batch in labelled_batches(uncertainty.source.potentials[0], records, batch_size):
        spread = uncertainty.source(graph)
        species = uncertainty.species(graph)
        sizes = atoms_per_graph(graph).cpu().numpy()
        of_method = variances(uncertainty.source, spread, graph, uncertainty.support, species)
        distances = uncertainty.support.distances(spread.features, species)
        support = uncertainty.support.scores(distances, species).cpu().numpy()
        predicted_energy = spread.prediction.energy.cpu().numpy()
        predicted_forces = spread.prediction.forces.cpu().numpy()
        ends = np.cumsum(sizes)
        for b, (record, size, end) in enumerate(zip(batch, sizes, ends, strict=True)):
            atoms = slice(end - size, end)
            if record.energy is not None:
                sigma = {
                    method: uncertainty.calibrations[f"energy, {method}"].sigma(values.energy[b : b + 1]) / size**0.5
                    for method, values in of_method.items()
                }
                error = (predicted_energy[b] - record.energy) / size
                energy.add(np.array([[error]]), sigma, done + b, np.array([support[atoms].max(initial=0.0)]))
            if record.forces is not None:
                sigma = {
                    method: uncertainty.calibrations[f"forces, {method}"].sigma(values.forces[atoms])
                    for method, values in of_method.items()
                }
                forces.add(predicted_forces[atoms] - record.forces, sigma, done + b, support[atoms])
        done += len(batch)
        if progress is not None:
            progress(done)
    rms = uncertainty.errors
    return Verdict(
        kind=uncertainty.source.kind,
        frames=len(records),
        frames_used_before=int(np.isin(fingerprints(records), uncertainty.used).sum()),
        energy=energy.judged(OUTSIDE * rms["energy_ev_per_atom"], "meV/atom"),
        forces=forces.judged(OUTSIDE * rms["force_ev_per_angstrom"], "meV/A"),
    )


class _Collected:
    """Errors of one quantity over all frames, with what was said of them."""

    def __init__(self) -> None:
        self.errors: list[Array] = []
        self.sigma: dict[str, list[Array]] = {method: [] for method in METHODS}
        self.frames: list[NDArray[np.int64]] = []
        self.support: list[Array] = []

    def add(self, errors: Array, sigma: dict[str, Array], frame: int, support: Array) -> None:
        self.errors.append(errors)
        for method, values in sigma.items():
            self.sigma[method].append(values)
        self.frames.append(np.full(len(errors), frame))
        self.support.append(support)

    def judged(self, limit: float, unit: str) -> Judgement | None:
        if not self.errors:
            return None
        errors = MEV_PER_EV * np.concatenate(self.errors)
        frames = np.concatenate(self.frames)
        support = np.concatenate(self.support)
        outside = np.sqrt(np.square(errors).mean(axis=1)) > MEV_PER_EV * limit
        flagged = support > 1.0
        tiny = 1e-9 * MEV_PER_EV  # what symmetry fixes has no variance, and no error but rounding
        return Judgement(
            unit=unit,
            methods={
                method: score(errors, np.maximum(MEV_PER_EV * np.concatenate(values), tiny), frames, outside)
                for method, values in self.sigma.items()
            },
            best_possible=dict(zip(REJECTED, best_rejection(errors, tuple(REJECTED.values())), strict=True)),
            best_left=best_rejection(errors, CURVE),
            outside=float(outside.mean()),
            auroc_support=auroc(support, outside),
            outside_by_support={
                "flagged": float(flagged.mean()),
                "errors_found": float(flagged[outside].mean()) if outside.any() else None,
                "flagged_with_error": float(outside[flagged].mean()) if flagged.any() else None,
            },
        )
