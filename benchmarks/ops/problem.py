"""What the convolutions are measured on: hot silicon, with random features, weights and cotangents."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equinet_kernels import ConvSpec, EdgeTopology, SphericalHarmonics, edge_topology

LATTICE_CONSTANT = 5.43  # Angstrom
CUTOFF = 5.0  # Angstrom; 28 neighbours in the perfect crystal
DISPLACEMENT = 0.15  # Angstrom, of each coordinate: some atoms gain a neighbour, some lose one
DIAMOND = ((0, 0, 0), (0, 2, 2), (2, 0, 2), (2, 2, 0), (1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1))


class Problem(NamedTuple):
    """Inputs of a convolution and the cotangents of its result and of its first derivatives."""

    x: Tensor  # [N, dim x]
    y: Tensor  # [E, (l_max + 1)^2]
    w: Tensor  # [E, sum_p C_p]
    topology: EdgeTopology
    g: Tensor  # [N, dim out]
    x_cotangent: Tensor  # like x
    y_cotangent: Tensor  # like y
    w_cotangent: Tensor  # like w

    @property
    def edges(self) -> int:
        """Number of edges."""
        return self.y.shape[0]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.x.shape[0]


def hot_silicon(edges: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    """Neighbours in a nearly cubic supercell of the diamond structure, at least 2 x 2 x 2 cells (1,792 edges).

    Atoms are numbered cell by cell, so that most senders lie near their receivers in memory, as in a real input.

    Args:
        edges: about how many are wanted.
        random: of the displacements.

    Returns:
        Senders [E], receivers [E] in ascending order, unit vectors [E, 3] float64, and the number of atoms.
    """
    cells = edges / (28 * len(DIAMOND))
    a = max(2, round(cells ** (1 / 3)))
    b = max(2, round(math.sqrt(cells / a)))
    c = max(2, round(cells / (a * b)))
    corners = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in (a, b, c)))
    basis = torch.tensor(DIAMOND, dtype=torch.float64) / 4
    positions = LATTICE_CONSTANT * (corners[:, None] + basis).flatten(0, 1)
    positions += DISPLACEMENT * torch.randn(positions.shape, dtype=torch.float64, generator=random)
    box = LATTICE_CONSTANT * torch.tensor([a, b, c], dtype=torch.float64)

    senders, receivers, vectors = [], [], []
    for start in range(0, len(positions), 256):  # all pairs of a few atoms at a time: no neighbour list needed
        delta = positions[None] - positions[start : start + 256, None]  # [receivers, senders, 3]
        delta -= box * torch.round(delta / box)
        near = delta.norm(dim=2) < CUTOFF
        near.diagonal(start).fill_(False)
        receiver, sender = near.nonzero(as_tuple=True)
        senders.append(sender)
        receivers.append(receiver + start)
        vectors.append(delta[receiver, sender])
    unit = torch.nn.functional.normalize(torch.cat(vectors), dim=1)
    return torch.cat(senders), torch.cat(receivers), unit, len(positions)


def make_problem(spec: ConvSpec, edges: int, dtype: torch.dtype, device: torch.device) -> Problem:
    """Build a problem of about so many edges; the same numbers for the same arguments."""
    random = torch.Generator().manual_seed(0)
    senders, receivers, unit, nodes = hot_silicon(edges, random)
    edges = len(senders)

    def normal(rows: int, columns: int) -> Tensor:
        # drawn in the dtype itself: float64 copies of the weights would be the largest thing in memory
        return torch.randn(rows, columns, dtype=dtype, generator=random).to(device)

    return Problem(
        x=normal(nodes, spec.x.dim),
        y=SphericalHarmonics(spec.l_max)(unit).to(device, dtype),
        w=normal(edges, spec.weight_dim),
        topology=edge_topology(senders.to(device), receivers.to(device), nodes),
        g=normal(nodes, spec.out.dim),
        x_cotangent=normal(nodes, spec.x.dim),
        y_cotangent=normal(edges, spec.y_dim),
        w_cotangent=normal(edges, spec.weight_dim),
    )
