"""Blocks of receivers: what belongs to edges is made for one block, used, and forgotten."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from equinet_kernels.conv.cpu import Receivers

EDGES = 512
"""Edges of a block, up to the last receiver's: the bounds follow from the graph alone, so that the same bits come out
everywhere. Enough to keep a processor busy; few enough that the weights of a block stay in its cache.
``csrc/torch/radial.h`` has the same number; a test compares the bits."""


class Block(NamedTuple):
    """Receivers, and the rows of their edges."""

    receivers: Receivers
    edges: slice


def receiver_blocks(row_ptr: Tensor) -> Iterator[Block]:
    """Split the receivers, in order, into blocks of about :data:`EDGES` edges."""
    nodes, edges = row_ptr.shape[0] - 1, int(row_ptr[-1])
    starts = torch.arange(0, max(edges, 1), EDGES)
    bounds = torch.searchsorted(row_ptr, starts).tolist()
    bounds[0] = 0
    for first, last in zip(bounds, [*bounds[1:], nodes], strict=True):
        if last > first:
            yield Block(Receivers(first, last), slice(int(row_ptr[first]), int(row_ptr[last])))
