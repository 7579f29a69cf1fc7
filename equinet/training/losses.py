"""What training minimises: squared errors of energy per atom, force components and stress, each in its own unit.

A label that is missing has weight zero and is masked before any arithmetic could spread a NaN.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from equinet.data import Labels, Statistics
from equinet.errors import InputError
from equinet.graph import AtomicGraph, atoms_per_graph, volumes
from equinet.models import Prediction


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three terms of the loss.

    Args:
        energy: weight of the energy per atom.
        forces: weight of the force components.
        stress: weight of the stress components; frames that are not periodic in three directions have none.
        units: "label_rms" divides each error by the rms of its label in the training set, so that the weights are plain
            numbers and 1:1:1 means something; "raw" leaves errors in eV/atom, eV/A and eV/A^3.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    units: Literal["label_rms", "raw"] = "label_rms"

    def __post_init__(self) -> None:
        weights = {"energy": self.energy, "forces": self.forces, "stress": self.stress}
        for name, weight in weights.items():
            if not 0.0 <= weight < float("inf"):
                raise InputError(f"model.loss.{name} is {weight}; a loss weight must be zero or positive")
        if not any(weights.values()):
            raise InputError("model.loss: all three weights are zero, there is nothing to learn; set one above zero")


@dataclass(frozen=True)
class LossScales:
    """What each error is divided by before it is squared."""

    energy: float  # eV/atom
    forces: float  # eV/A
    stress: float  # eV/A^3


MINIMUM_SCALES = LossScales(energy=1e-3, forces=1e-2, stress=1e-4)
"""Floors of the label rms: labels that hardly vary (one composition at 0 K, a perfect crystal) must not be
weighted without bound. About the accuracy of converged DFT."""


def loss_scales(statistics: Statistics, weights: LossWeights) -> LossScales:
    """Choose the divisors: label rms of the training set, or ones for raw units."""
    if weights.units == "raw":
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
    has_stress = labels.has_virial & volume.isfinite()  # [B]
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


class LossTerms(NamedTuple):
    """The three weighted terms; the loss is their sum."""

    energy: Tensor
    forces: Tensor
    stress: Tensor


def loss_terms(errors: Residuals, weights: LossWeights, scales: LossScales) -> LossTerms:
    """Weighted mean squared errors over what is labelled in this batch (zero where nothing is)."""

    def mean_square(error: Tensor, labelled: Tensor, scale: float) -> Tensor:
        components = error[0].numel() if error.shape[0] else 1
        count = (labelled.sum() * components).clamp(min=1)
        return (error / scale).square().sum() / count

    return LossTerms(
        energy=weights.energy * mean_square(errors.energy, errors.has_energy, scales.energy),
        forces=weights.forces * mean_square(errors.forces, errors.has_forces, scales.forces),
        stress=weights.stress * mean_square(errors.stress, errors.has_stress, scales.stress),
    )
