"""What training minimises: penalties of the errors of energy per atom, forces and stress, each in its own unit.

A label that is missing has weight zero and is masked before any arithmetic could spread a NaN. Losses are sums over the
labelled structures and atoms of a batch, divided by how many there are in the whole optimiser step (all processes, all
accumulated batches), so that ragged batches weigh every atom alike.
"""

import warnings
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from equinet.data import IndexedRecords, Labels, Statistics
from equinet.elements import SYMBOLS
from equinet.errors import DataWarning, InputError
from equinet.graph import AtomicGraph, atoms_per_graph, volumes
from equinet.models import Prediction

Form = Literal["mse", "mae", "huber"]
ForceForm = Literal["mse", "mae", "huber", "norm"]


@dataclass(frozen=True)
class TermWeights:
    """Weights of the three terms of a loss, and what the learning rate is multiplied by meanwhile."""

    energy: float
    forces: float
    stress: float
    lr_factor: float = 1.0


@dataclass(frozen=True)
class SecondStage:
    """Other weights for the last part of a run; energies are often learnt late, with a high weight.

    Args:
        start: share of the run's steps after which it begins, between 0 and 1.
        energy: weight of the energy per atom from then on.
        forces: weight of the forces from then on.
        stress: weight of the stress from then on.
        lr_factor: what the learning rate is multiplied by from then on.
    """

    start: float = 0.75
    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    lr_factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.start < 1.0:
            raise InputError(
                f"model.loss.second_stage.start is {self.start}; it is a share of the run, between 0 and 1"
            )
        if not 0.0 < self.lr_factor < float("inf"):
            raise InputError(f"model.loss.second_stage.lr_factor is {self.lr_factor}; it must be positive")
        _check_weights("model.loss.second_stage", self.energy, self.forces, self.stress)


@dataclass(frozen=True)
class LossSettings:
    """Form and weights of the terms of the loss.

    Args:
        energy: weight of the energy per atom.
        forces: weight of the forces.
        stress: weight of the stress; frames that are not periodic in three directions have none.
        units: "label_rms" divides each error by the rms of its label in the training set, so that the weights are plain
            numbers and 1:1:1 means something; "raw" leaves errors in eV/atom, eV/A and eV/A^3.
        energy_form: "mse", the squared error; "mae", the absolute one; "huber", squared where it is small.
        force_form: the same of each component; or "norm", the length of an atom's error vector.
        stress_form: as ``energy_form``, of each component.
        huber_energy_ev_per_atom: where "huber" goes over from squared to linear.
        huber_force_ev_per_angstrom: the same for forces.
        huber_stress_ev_per_a3: the same for the stress.
        force_weight_by_element: weight of the forces on atoms of an element ("H": 0.5); 1 for those not named.
        second_stage: other weights towards the end of the run; null for none.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    units: Literal["label_rms", "raw"] = "label_rms"
    energy_form: Form = "mse"
    force_form: ForceForm = "mse"
    stress_form: Form = "mse"
    huber_energy_ev_per_atom: float = 0.01
    huber_force_ev_per_angstrom: float = 0.1
    huber_stress_ev_per_a3: float = 0.001
    force_weight_by_element: dict[str, float] = field(default_factory=dict)
    second_stage: SecondStage | None = None

    def __post_init__(self) -> None:
        _check_weights("model.loss", self.energy, self.forces, self.stress)
        for name in ("huber_energy_ev_per_atom", "huber_force_ev_per_angstrom", "huber_stress_ev_per_a3"):
            form = f"{name.split('_')[1]}_form"
            if not getattr(self, name) > 0.0:
                raise InputError(f"model.loss.{name} is {getattr(self, name)}; it must be positive")
            if getattr(self, name) != getattr(LossSettings, name) and getattr(self, form) != "huber":
                raise InputError(
                    f"model.loss.{name} has no effect with model.loss.{form} {getattr(self, form)}; set it to huber"
                )
        for symbol, weight in self.force_weight_by_element.items():
            if symbol not in SYMBOLS[1:]:
                raise InputError(f"model.loss.force_weight_by_element names {symbol!r}, which is no chemical symbol")
            if not 0.0 <= weight < float("inf"):
                raise InputError(f"model.loss.force_weight_by_element.{symbol} is {weight}; it must not be negative")

    def weights(self, progress: float) -> TermWeights:
        """Weights at a point of the run (0 at its start, 1 at its end)."""
        late = self.second_stage
        if late is not None and progress >= late.start:
            return TermWeights(late.energy, late.forces, late.stress, late.lr_factor)
        return TermWeights(self.energy, self.forces, self.stress)

    @property
    def final_weights(self) -> TermWeights:
        """Those that the run ends with; "best" is judged by them throughout, so that epochs can be compared."""
        return self.weights(1.0)


def _check_weights(key: str, energy: float, forces: float, stress: float) -> None:
    weights = {"energy": energy, "forces": forces, "stress": stress}
    for name, weight in weights.items():
        if not 0.0 <= weight < float("inf"):
            raise InputError(f"{key}.{name} is {weight}; a loss weight must be zero or positive")
    if not any(weights.values()):
        raise InputError(f"{key}: all three weights are zero, there is nothing to learn; set one above zero")


def check_labelled(settings: LossSettings, train: IndexedRecords, val: IndexedRecords | None) -> None:
    """Compare the weights with the labels that there are, before training.

    Warns of a term with a weight that no frame has a label for: in training (of the stress only where its weight was
    chosen: molecules have none), or in validation alone.

    Args:
        settings: of the loss.
        train: frames to train on.
        val: frames to validate on; None where there is no validation.

    Raises:
        InputError: no validation frame has a label with a weight at the end of the run: all epochs would be as good.
    """
    names = ("energy", "forces", "stress")
    trained = _labelled(train)
    final = {name: getattr(settings.final_weights, name) for name in names}
    weights = {name: max(getattr(settings, name), final[name]) for name in names}
    chosen = {name for name in names if weights[name] and (name != "stress" or weights[name] != LossSettings.stress)}
    lacking = [name for name in names if name in chosen and not trained[name]]
    if lacking:
        warnings.warn(
            f"no frame to train on has {' or '.join(lacking)}, which model.loss gives a weight: not learnt from them",
            DataWarning,
        )
    if val is None:
        return
    validated = _labelled(val)
    if not any(final[name] and validated[name] for name in names):
        raise InputError(
            f"no frame to validate on has {' or '.join(name for name in names if final[name])}, the labels that "
            "model.loss gives a weight in the end, so that no epoch could be found the best; validate on frames that "
            "have them (data.val_path), or name the keys that hold them (data.keys)"
        )
    lacking = [name for name in names if final[name] and trained[name] and not validated[name]]
    if lacking:
        warnings.warn(
            f"no frame to validate on has {' or '.join(lacking)}, which is trained: the best epoch is chosen without",
            DataWarning,
        )


def _labelled(records: IndexedRecords) -> dict[str, bool]:
    """Whether any frame has each label."""
    columns = records.columns
    return {
        "energy": bool(columns.has_energy.any()),
        "forces": bool(columns.has_forces.any()),
        "stress": bool(columns.has_stress.any()),
    }


@dataclass(frozen=True)
class LossScales:
    """What each error is divided by."""

    energy: float  # eV/atom
    forces: float  # eV/A
    stress: float  # eV/A^3


MINIMUM_SCALES = LossScales(energy=1e-3, forces=1e-2, stress=1e-4)
"""Floors of the label rms: labels that hardly vary (one composition at 0 K, a perfect crystal) must not be
weighted without bound. About the accuracy of converged DFT."""


def loss_scales(statistics: Statistics, settings: LossSettings) -> LossScales:
    """Choose the divisors: label rms of the training set, or ones for raw units."""
    if settings.units == "raw":
        return LossScales(1.0, 1.0, 1.0)
    return LossScales(
        energy=max(statistics.energy_rms_per_atom or 0.0, MINIMUM_SCALES.energy),
        forces=max(statistics.force_rms or 0.0, MINIMUM_SCALES.forces),
        stress=max(statistics.stress_rms or 0.0, MINIMUM_SCALES.stress),
    )


class Residuals(NamedTuple):
    """Prediction minus label, zero where there is no label, and which of them are labelled."""

    energy: Tensor  # [B] eV/atom
    forces: Tensor  # [N, 3] eV/A
    stress: Tensor  # [B, 3, 3] eV/A^3
    has_energy: Tensor  # [B] bool
    has_forces: Tensor  # [N] bool
    has_stress: Tensor  # [B] bool


def residuals(prediction: Prediction, labels: Labels, graph: AtomicGraph) -> Residuals:
    """Subtract labels from a prediction.

    The stress is compared as -virial/volume and only where the structure is periodic in three directions: the volume
    of a slab's or molecule's cell is padding.
    """
    volume = volumes(graph)  # [B], NaN unless three-dimensional
    has_stress = _has_stress(labels, volume)  # [B]
    has_forces = labels.has_forces[graph.batch]  # [N]
    # A NaN volume must be gone before the division: zero times NaN is NaN in the backward pass too.
    volume = torch.where(has_stress, volume, torch.ones_like(volume))
    energy = (prediction.energy - labels.energy) / atoms_per_graph(graph)
    stress = -(prediction.virial - labels.virial) / volume[:, None, None]
    return Residuals(
        energy=torch.where(labels.has_energy, energy, torch.zeros_like(energy)),
        forces=torch.where(has_forces[:, None], prediction.forces - labels.forces, 0.0),
        stress=torch.where(has_stress[:, None, None], stress, torch.zeros_like(stress)),
        has_energy=labels.has_energy,
        has_forces=has_forces,
        has_stress=has_stress,
    )


def _has_stress(labels: Labels, volume: Tensor) -> Tensor:
    return labels.has_virial & volume.isfinite()


def labelled_counts(labels: Labels, graph: AtomicGraph) -> Tensor:
    """How many energies, atoms with forces and stresses are labelled: [3] float64."""
    forces = labels.has_forces[graph.batch].sum()
    return torch.stack([labels.has_energy.sum(), forces, _has_stress(labels, volumes(graph)).sum()]).double()


class Loss:
    """The loss of a data set: settings, with scales from its statistics.

    Args:
        settings: form and weights.
        statistics: of the training set.
    """

    def __init__(self, settings: LossSettings, statistics: Statistics) -> None:
        self.settings = settings
        self.scales = loss_scales(statistics, settings)
        by_number = {SYMBOLS.index(symbol): weight for symbol, weight in settings.force_weight_by_element.items()}
        self._by_element = torch.ones(len(SYMBOLS), dtype=torch.float64)
        for number, weight in by_number.items():
            self._by_element[number] = weight

    def penalties(self, errors: Residuals, labels: Labels, graph: AtomicGraph) -> Tensor:
        """Sums of the weighted penalties of energies, forces and stresses: [3] float64.

        Divided by :func:`labelled_counts` they are means: over structures, over atoms (of the mean over an atom's
        components), over structures (of the mean over nine components).
        """
        settings, scales = self.settings, self.scales
        atom_weight = labels.weight[graph.batch]
        if settings.force_weight_by_element:
            atom_weight = atom_weight * self._by_element.to(graph.numbers.device)[graph.numbers]
        energy = _penalty(errors.energy, settings.energy_form, scales.energy, settings.huber_energy_ev_per_atom)
        delta = settings.huber_force_ev_per_angstrom
        if settings.force_form == "norm":
            forces = _norm(errors.forces) / scales.forces
        else:
            forces = _penalty(errors.forces, settings.force_form, scales.forces, delta).mean(dim=1)
        stress = _penalty(errors.stress, settings.stress_form, scales.stress, settings.huber_stress_ev_per_a3)
        return torch.stack(
            [
                (labels.weight * energy).sum(),
                (atom_weight * forces).sum(),
                (labels.weight * stress.mean(dim=(1, 2))).sum(),
            ]
        )


def _penalty(error: Tensor, form: Form | ForceForm, scale: float, delta: float) -> Tensor:
    """Elementwise: (e/s)^2, |e|/s, or (e/s)^2 that goes over to a straight line at delta (Huber 1964, times two)."""
    if form == "mse":
        return (error / scale).square()
    size = error.abs()
    if form == "mae":
        return size / scale
    return torch.where(size < delta, size.square(), delta * (2.0 * size - delta)) / scale**2


def _norm(vectors: Tensor) -> Tensor:
    """Lengths [N] of vectors [N, 3], whose gradient at zero is zero (that of a plain norm is NaN)."""
    square = vectors.square().sum(dim=1)
    nonzero = square > 0.0
    return torch.where(nonzero, torch.where(nonzero, square, 1.0).sqrt(), 0.0)


def weighted(weights: TermWeights, penalties: Tensor, counts: Tensor) -> Tensor:
    """The three weighted means, [3]; the loss is their sum. Zero where nothing is labelled."""
    factors = torch.tensor([weights.energy, weights.forces, weights.stress], dtype=torch.float64)
    return factors.to(penalties.device) * penalties / counts.to(penalties.device).clamp(min=1.0)
