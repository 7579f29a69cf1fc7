"""Uncertainty from one trained model: the posterior of its last linear map's weights.

Energies are linear in these weights, so with Gaussian noise their posterior is that of Bayesian linear regression, and
the variance of any energy or force is a quadratic form of its derivative by the weights (Bigi, Chong, Ceriotti and
Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024), "prediction rigidity").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equinet.graph import AtomicGraph, atoms_per_graph, volumes
from equinet.models import Potential
from equinet.uncertainty.source import Spread

REGULARISER = 1e-4
"""Added to the precision, relative to its mean eigenvalue. The likelihood of held-out force errors is flat below 1e-3
(3BPA, acetylacetone); above, the smallest directions, which tell most about the unknown, are lost."""
DEFAULT_SAMPLES = 32
"""Directions of the weights that forces are differentiated along, unless there are fewer weights."""


@dataclass(frozen=True)
class RowWeights:
    """What the squared derivatives of a batch count, as its errors do in the loss."""

    energy: float  # of an energy per atom, 1/(eV/atom)^2
    forces: float  # of a force component, 1/(eV/A)^2
    stress: float  # of a stress component, 1/(eV/A^3)^2


class Precision:
    """The inverse covariance of the weights, summed batch by batch: memory does not grow with the data.

    Each kind of label is a mean over the structures, atoms and components seen, times its weight in the loss: the
    Gauss-Newton matrix of the loss.

    Args:
        potential: whose last linear map it is about.
        weights: of the kinds.
    """

    def __init__(self, potential: Potential, weights: RowWeights) -> None:
        self.potential = potential
        self.weights = weights
        width = readout_width(potential)
        self._sums = torch.zeros(3, width, width, dtype=torch.float64)
        self._counts = torch.zeros(3, dtype=torch.float64)

    def add(self, graph: AtomicGraph, forces: bool = True) -> Tensor:
        """Add a batch; with ``forces`` by as many backward passes as there are weights, else its energies alone.

        Returns:
            [N, F] float64 features of the atoms.
        """
        width = self._sums.shape[1]
        directions = torch.eye(width, dtype=torch.float64)[: width if forces else 0]
        _, derivatives = self.potential.with_readout_derivatives(graph, directions)
        per_atom = _per_structure(derivatives.features, graph) / atoms_per_graph(graph).unsqueeze(1)  # [B, F]
        self._sum(0, per_atom)
        if forces:
            self._sum(1, derivatives.forces.flatten(1).T)
            volume = volumes(graph)
            periodic = volume.isfinite()
            stress = derivatives.virial[:, periodic] / volume[periodic].view(1, -1, 1, 1)
            self._sum(2, stress.flatten(1).T)
        return derivatives.features

    def _sum(self, kind: int, rows: Tensor) -> None:
        self._sums[kind] += (rows.T @ rows).cpu()
        self._counts[kind] += len(rows)

    @property
    def matrix(self) -> Tensor:
        """[F, F], without the regulariser."""
        weights = torch.tensor([self.weights.energy, self.weights.forces, self.weights.stress], dtype=torch.float64)
        return ((weights / self._counts.clamp(min=1.0)).view(3, 1, 1) * self._sums).sum(dim=0)


def square_root_of_covariance(precision: Tensor, regulariser: float = REGULARISER) -> Tensor:
    """R [F, F] with R^T R the inverse of the regularised precision: the variance of ``x @ weights`` is ``|R x|^2``."""
    values, vectors = torch.linalg.eigh(precision)
    floor = regulariser * float(values.mean())
    return (vectors / (values.clamp(min=0.0) + floor).sqrt()).T.contiguous()


def sampled_directions(root: Tensor, samples: int, seed: int = 0) -> Tensor:
    """Directions D [M, F] with D^T D the covariance: in the mean over random choices, and exactly if M = F.

    Rows of a random orthogonal matrix instead of independent draws: the error falls to nothing as M reaches F.

    Args:
        root: [F, F] of :func:`square_root_of_covariance`.
        samples: M.
        seed: of the choice.
    """
    width = len(root)
    if samples >= width:
        return root
    generator = torch.Generator().manual_seed(seed)
    orthogonal, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=generator))
    return (width / samples) ** 0.5 * orthogonal[:samples] @ root


class LastLayer:
    """Variances by the covariance of the last linear map's weights. One forward and 1 + M backward passes.

    Args:
        potential: in eval mode.
        root: [F, F], see :func:`square_root_of_covariance`; energies are exact.
        directions: [M, F], see :func:`sampled_directions`; forces and stresses are exact if M = F.
    """

    kind = "last layer"
    freedom = float("inf")

    def __init__(self, potential: Potential, root: Tensor, directions: Tensor) -> None:
        device = potential.scale.device
        self.potential = potential
        self.root = root.to(device)
        self.directions = directions.to(device)

    @property
    def potentials(self) -> Sequence[Potential]:
        """The one model."""
        return (self.potential,)

    def __call__(self, graph: AtomicGraph) -> Spread:
        """Predict a batch."""
        prediction, derivatives = self.potential.with_readout_derivatives(graph, self.directions)
        energy = (_per_structure(derivatives.features, graph) @ self.root.T).square().sum(dim=1)
        forces = derivatives.forces.square().sum(dim=0).mean(dim=1)
        stress = (derivatives.virial / volumes(graph).view(-1, 1, 1)).square().sum(dim=0).mean(dim=(1, 2))
        return Spread(prediction, energy, forces, stress, derivatives.features)


def readout_width(potential: Potential) -> int:
    """F, how many weights the last linear map has."""
    return sum(weight.numel() for weight in potential.model.last.weights)


def _per_structure(features: Tensor, graph: AtomicGraph) -> Tensor:
    """Sums over the atoms of each structure, [B, F]."""
    return features.new_zeros(len(graph.cell), features.shape[1]).index_add_(0, graph.batch, features)
