"""Convolutions of a process that owns some atoms and sees ghosts: features of ghosts come from their owners.

Between two layers ghosts need features that depend on atoms farther away. They are fetched, not computed, so that a
process sees no farther than one cutoff, however many layers there are; gradients go back the same way.
"""

import copy

import torch
from torch import Tensor, nn

from equinet_kernels.conv import UVUConv
from equinet_kernels.ghosts import registration  # noqa: F401 (defines torch.ops.equinet.ghost_rows)
from equinet_kernels.radial_conv import RadialConv, TabulatedConv
from equinet_kernels.topology import EdgeTopology


def _all_rows(x: Tensor, topology: EdgeTopology) -> Tensor:
    """x [N, C] of the owned atoms -> [N + G, C], N + G being the atoms of the topology."""
    rows: Tensor = torch.ops.equinet.ghost_rows(x, topology.row_ptr.shape[0] - 1 - x.shape[0])
    return rows


class UVUConvWithGhosts(nn.Module):
    """As :class:`UVUConv`, but x and the result are of the owned atoms alone, the first of the topology's."""

    def __init__(self, conv: UVUConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p], topology of N + G atoms -> [N, dim out]."""
        out: Tensor = self.conv(_all_rows(x, topology), y, w, topology)
        return out.narrow(0, 0, x.shape[0])


class TabulatedConvWithGhosts(nn.Module):
    """As :class:`TabulatedConv`, but x and the result are of the owned atoms alone, the first of the topology's."""

    def __init__(self, conv: TabulatedConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, vectors: Tensor, table: Tensor, spacing: float, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], vectors [E, 3], table [K, 6, sum_p C_p], topology of N + G atoms -> [N, dim out]."""
        out: Tensor = self.conv(_all_rows(x, topology), vectors, table, spacing, topology)
        return out.narrow(0, 0, x.shape[0])


def with_ghosts(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose convolutions know ghosts.

    Raises:
        ValueError: it has a convolution that cannot (:class:`RadialConv`, for training), or none.
    """
    model = copy.deepcopy(model)
    found = 0
    for module in list(model.modules()):
        if isinstance(module, UVUConvWithGhosts | TabulatedConvWithGhosts | TabulatedConv):
            continue
        for name, child in module.named_children():
            if isinstance(child, RadialConv):
                raise ValueError("a convolution that recomputes its weights is for training; it knows no ghosts")
            if isinstance(child, UVUConv):
                setattr(module, name, UVUConvWithGhosts(child))
            elif isinstance(child, TabulatedConv):
                setattr(module, name, TabulatedConvWithGhosts(child))
            else:
                continue
            found += 1
    if not found:
        raise ValueError("the model has no convolution")
    return model
