"""Predictions with error bars: calibrated standard deviations of energies, forces and stresses, and the support."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equinet.graph import AtomicGraph, atoms_per_graph
from equinet.models import Prediction
from equinet.uncertainty.calibration import Calibration
from equinet.uncertainty.source import Source, Spread
from equinet.uncertainty.support import Support

Array = NDArray[np.float64]

METHODS = ("sigma", "constant", "force size", "neighbour distance")
"""Where an error bar may come from: our standard deviations, and three that any model has for nothing."""
QUANTITIES = ("energy", "forces", "stress")


class Estimate(NamedTuple):
    """What a model says of a batch, and how far to believe it. Arrays are float64."""

    prediction: Prediction  # a committee's is the mean of its members
    energy_std: Array  # [B] eV, of the whole structure
    forces_std: Array  # [N] eV/Angstrom, of one component of an atom's force
    stress_std: Array  # [B] eV/Angstrom^3, of one component; NaN unless periodic in three directions and calibrated
    support: Array  # [N], above 1 outside the training data
    features: Tensor  # [N, F] of each atom's environment, as the first model sees it


@dataclass(frozen=True)
class Uncertainty:
    """Error bars for the model or the committee that they were made for.

    Args:
        source: of the variances; holds the model.
        support: of the features.
        calibrations: by "QUANTITY, METHOD": "forces, sigma", "energy, constant", and so on. Energies are calibrated
            divided by the square root of the number of atoms.
        errors: of the calibration set, rms: "energy_ev_per_atom", "force_ev_per_angstrom".
        used: marks of the frames that it was made of (:func:`equinet.uncertainty.frames.fingerprints`).
        facts: what it was made of, JSON-able.
    """

    source: Source
    support: Support
    calibrations: dict[str, Calibration]
    errors: dict[str, float]
    used: NDArray[np.int64]
    facts: dict[str, Any] = field(default_factory=dict)

    def estimate(self, graph: AtomicGraph) -> Estimate:
        """Predict a batch on the model's device."""
        spread = self.source(graph)
        sizes = atoms_per_graph(graph).cpu().numpy()
        species = self.species(graph)
        distances = self.support.distances(spread.features, species)
        of = sigma_variances(self.source, spread, graph, distances)
        stress = self.calibrations.get("stress, sigma")
        return Estimate(
            spread.prediction,
            self.calibrations["energy, sigma"].sigma(of.energy) * np.sqrt(sizes),
            self.calibrations["forces, sigma"].sigma(of.forces),
            np.full(len(sizes), np.nan) if stress is None else stress.sigma(of.stress),
            _numpy(self.support.scores(distances, species)),
            spread.features,
        )

    def predict(self, graph: AtomicGraph) -> Prediction:
        """Predict a batch without error bars, as cheaply as the model can: of a committee, the mean of its members."""
        potentials = self.source.potentials
        prediction: Prediction = potentials[0](graph) if len(potentials) == 1 else self.source(graph).prediction
        return prediction

    def species(self, graph: AtomicGraph) -> Tensor:
        """[N] number of each atom's element among those of the model."""
        return self.source.potentials[0].species_index[graph.numbers]


class Variances(NamedTuple):
    """What calibration starts from, for one method: [B] of energies divided by the number of atoms, [N], [B]."""

    energy: Array
    forces: Array
    stress: Array


def sigma_variances(source: Source, spread: Spread, graph: AtomicGraph, distances: Tensor) -> Variances:
    """What standard deviations are made of.

    The last layer's posterior takes the features for granted, and is too sure of atoms that are far from the training
    data: variances grow with the square of the atoms' distance to it (their mean, for what belongs to a structure).

    Args:
        source: of the spread.
        spread: of a batch.
        graph: the batch.
        distances: [N] of the atoms, see :meth:`Support.distances`.
    """
    sizes = atoms_per_graph(graph).cpu().numpy()
    energy, forces, stress = _numpy(spread.energy) / sizes, _numpy(spread.forces), _numpy(spread.stress)
    if not source.features_fixed:
        return Variances(energy, forces, stress)
    square = _numpy(distances.square())
    mean = _means(square, graph)
    return Variances(energy * mean, forces * square, stress * mean)


def variances(
    source: Source, spread: Spread, graph: AtomicGraph, support: Support, species: Tensor
) -> dict[str, Variances]:
    """By method; those of the naive methods are squares of the number that they go by."""
    structures, atoms = len(graph.cell), len(graph.numbers)
    size = _numpy(spread.prediction.forces.square().sum(dim=1))
    nearest = _numpy(support.nearest(spread.features, species).square())
    return {
        "sigma": sigma_variances(source, spread, graph, support.distances(spread.features, species)),
        "constant": Variances(np.ones(structures), np.ones(atoms), np.ones(structures)),
        "force size": Variances(_means(size, graph), size, _means(size, graph)),
        "neighbour distance": Variances(_means(nearest, graph), nearest, _means(nearest, graph)),
    }


def _means(values: Array, graph: AtomicGraph) -> Array:
    """Over the atoms of each structure, [B]."""
    sizes = atoms_per_graph(graph).cpu().numpy()
    return np.asarray(np.bincount(graph.batch.cpu().numpy(), values, len(sizes)) / sizes)


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().to(torch.float64).numpy())
