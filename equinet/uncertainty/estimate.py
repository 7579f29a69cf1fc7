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
        stress = self.calibrations.get("stress, sigma")
        return Estimate(
            spread.prediction,
            self.calibrations["energy, sigma"].sigma(_numpy(spread.energy) / sizes) * np.sqrt(sizes),
            self.calibrations["forces, sigma"].sigma(_numpy(spread.forces)),
            np.full(len(sizes), np.nan) if stress is None else stress.sigma(_numpy(spread.stress)),
            _numpy(self.support.scores(spread.features, self.species(graph))),
        )

    def species(self, graph: AtomicGraph) -> Tensor:
        """[N] number of each atom's element among those of the model."""
        return self.source.potentials[0].species_index[graph.numbers]


class Variances(NamedTuple):
    """What calibration starts from, for one method: [B] of energies divided by the number of atoms, [N], [B]."""

    energy: Array
    forces: Array
    stress: Array


def variances(spread: Spread, graph: AtomicGraph, support: Support, species: Tensor) -> dict[str, Variances]:
    """By method; those of the naive methods are squares of the number that they go by."""
    sizes = atoms_per_graph(graph).cpu().numpy()
    batch = graph.batch.cpu().numpy()

    def means(values: Array) -> Array:
        return np.asarray(np.bincount(batch, values, len(sizes)) / sizes)

    size = _numpy(spread.prediction.forces.square().sum(dim=1))
    nearest = _numpy(support.nearest(spread.features, species).square())
    return {
        "sigma": Variances(_numpy(spread.energy) / sizes, _numpy(spread.forces), _numpy(spread.stress)),
        "constant": Variances(np.ones(len(sizes)), np.ones(len(batch)), np.ones(len(sizes))),
        "force size": Variances(means(size), size, means(size)),
        "neighbour distance": Variances(means(nearest), nearest, means(nearest)),
    }


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().to(torch.float64).numpy())
