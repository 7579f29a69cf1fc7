"""Uncertainty from one trained model: the posterior of its last linear map's weights.

Energies are linear in these weights, so with Gaussian noise their posterior is that of Bayesian linear regression, and
the variance of any energy or force is a quadratic form of its derivative by the weights (Bigi, Chong, Ceriotti and
Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024), "prediction rigidity").
"""

from collections.abc import Sequence
from typing import Any

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


class Precision:
    """The inverse covariance of the weights, summed batch by batch: memory does not grow with the data.

    Energies per atom, force components and stress components each add the mean of their squared derivatives, scaled
    to the same trace: their noise differs, and the traces tell how much without anything to choose.

    Args:
        potential: whose last linear map it is about.
        labels: whether there are energies, forces and stresses in training; what has not been learnt does not count.
    """

    def __init__(self, potential: Potential, labels: tuple[bool, ...] = (True, True, True)) -> None:
        self.potential = potential
        self.labels = labels
        width = readout_width(potential)
        self._sums = torch.zeros(3, width, width, dtype=torch.float64)

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

    @property
    def matrix(self) -> Tensor:
        """[F, F], without the regulariser; its trace is the number of kinds of labels."""
        traces = self._sums.diagonal(dim1=1, dim2=2).sum(dim=1)
        learnt = torch.tensor(self.labels) & (traces > 0.0)
        return (self._sums[learnt] / traces[learnt].view(-1, 1, 1)).sum(dim=0)


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
    features_fixed = True

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
    last: Any = potential.model.last
    return sum(int(weight.numel()) for weight in last.weights)


def _per_structure(features: Tensor, graph: AtomicGraph) -> Tensor:
    """Sums over the atoms of each structure, [B, F]."""
    return features.new_zeros(len(graph.cell), features.shape[1]).index_add_(0, graph.batch, features)
