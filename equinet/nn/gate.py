"""The gate: scalars pass an activation, everything else is multiplied by an activated scalar of its own."""

from typing import List

import torch
from torch import Tensor, nn

from equinet.nn.activation import NormalizedActivation
from equinet_kernels import Block, Layout


class Gate(nn.Module):
    """Equivariant nonlinearity (Weiler et al., arXiv:1807.02547).

    Even scalars (and the gates, which are even) pass silu, odd scalars tanh. ``layout_in`` is the output layout with
    one more even scalar per gated channel.

    Args:
        layout_out: what is wanted; even scalars, if there are any, come first.

    Raises:
        ValueError: even scalars stand elsewhere.
    """

    blocks: List[List[int]]  # of all but the even scalars: [l, 2l + 1, C]; TorchScript needs the type of an empty list

    def __init__(self, layout_out: Layout) -> None:
        super().__init__()
        gates = sum(block.channels for block in layout_out if block.l > 0)
        even = sum(block.channels for block in layout_out if (block.l, block.p) == (0, 1))
        rest = [block for block in layout_out if (block.l, block.p) != (0, 1)]
        if list(layout_out) != [Block(even, 0, 1)] * (even > 0) + rest:
            raise ValueError(f"even scalars must come first in {layout_out}")
        self.layout_in = Layout([Block(even + gates, 0, 1), *rest])
        self.layout_out = layout_out
        self.even = even
        self.gates = gates
        self.blocks = [[block.l, 2 * block.l + 1, block.channels] for block in rest]
        self.sizes = [even + gates, *[(2 * block.l + 1) * block.channels for block in rest]]
        self.gate_sizes = [even, *[block.channels for block in rest if block.l > 0]]
        self.even_activation = NormalizedActivation("silu")
        self.odd_activation = NormalizedActivation("tanh")

    def forward(self, x: Tensor) -> Tensor:
        """[N, dim in] -> [N, dim out]."""
        rows = x.shape[0]
        parts = x.split_with_sizes(self.sizes, dim=1)  # its gradient is one concatenation; a narrow's is padded with 0
        scalars = self.even_activation(parts[0]).split_with_sizes(self.gate_sizes, dim=1)
        out: List[Tensor] = [scalars[0]]
        gate = 1
        for number, block in enumerate(self.blocks):
            l, components, channels = block[0], block[1], block[2]
            values = parts[number + 1]
            if l == 0:
                out.append(self.odd_activation(values))
            else:
                gated = values.reshape(rows, components, channels) * scalars[gate].unsqueeze(1)
                out.append(gated.flatten(1))
                gate += 1
        return torch.cat(out, dim=1)
