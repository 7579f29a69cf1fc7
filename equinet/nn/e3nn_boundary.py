"""Features to and from e3nn: its irreps, and its order of values within a block.

A block of ours is [2l + 1, channels], channels contiguous; e3nn keeps [channels, 2l + 1]. Conventions of components,
signs and norms are the same (e3nn >= 0.5). e3nn is imported when first used.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equinet_kernels import Block, Layout

if TYPE_CHECKING:
    from e3nn.o3 import Irreps


def to_irreps(layout: Layout) -> "Irreps":
    """Return the e3nn irreps of a layout, block for block."""
    from e3nn.o3 import Irreps

    return Irreps([(block.channels, (block.l, block.p)) for block in layout])


def from_irreps(irreps: "Irreps | str") -> Layout:
    """Return the layout of e3nn irreps, block for block.

    Raises:
        ValueError: an irreducible representation occurs in two blocks; simplify the irreps first.
    """
    from e3nn.o3 import Irreps

    return Layout(Block(mul, irrep.l, irrep.p) for mul, irrep in Irreps(irreps))


def to_e3nn(x: Tensor, layout: Layout) -> Tensor:
    """Rows of ours [N, dim] in e3nn's order of values."""
    blocks = [
        x.narrow(1, offset, block.dim).reshape(-1, 2 * block.l + 1, block.channels).transpose(1, 2).flatten(1)
        for offset, block in zip(layout.offsets, layout, strict=True)
    ]
    return torch.cat(blocks, dim=1)


def from_e3nn(x: Tensor, layout: Layout) -> Tensor:
    """Rows in e3nn's order of values [N, dim] in ours."""
    blocks = [
        x.narrow(1, offset, block.dim).reshape(-1, block.channels, 2 * block.l + 1).transpose(1, 2).flatten(1)
        for offset, block in zip(layout.offsets, layout, strict=True)
    ]
    return torch.cat(blocks, dim=1)
