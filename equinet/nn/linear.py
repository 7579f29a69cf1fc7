"""Linear maps that mix channels of one irreducible representation, and leave its components alone."""

from typing import List, Optional

import torch
from torch import Tensor, nn

from equinet_kernels import Layout


def _shared_blocks(layout_in: Layout, layout_out: Layout) -> List[List[int]]:
    """For each output block: [number of the input block, 2l + 1, C in, C out]; C in = 0 where there is none."""
    numbers = {block[1:]: (number, block.channels) for number, block in enumerate(layout_in)}
    rows = []
    for block in layout_out:
        number, channels = numbers.get(block[1:], (-1, 0))
        rows.append([number, 2 * block.l + 1, channels, block.channels])
    return rows


def matmul(x: Tensor, weight: Tensor, in_bfloat16: bool) -> Tensor:
    """x [R, K] @ weight [K, C] -> [R, C] in x's dtype; with ``in_bfloat16`` the factors are rounded to it first.

    Weights [M, K, C] are those of M members of a committee, who have R / M rows each, one member after the other.
    """
    dtype = x.dtype
    if weight.dim() == 3:
        members = weight.shape[0]
        x = x.reshape(members, x.shape[0] // members, x.shape[1])
    if in_bfloat16:
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    product = (x @ weight).to(dtype)
    return product.flatten(0, 1) if weight.dim() == 3 else product


class EquivariantLinear(nn.Module):
    """Rows of one layout to rows of another; one weight matrix per irreducible representation they share.

    Output blocks that the input lacks are zero. Weights are drawn from N(0, 1) and divided by sqrt(C in) when used.

    Args:
        layout_in: of the input rows.
        layout_out: of the output rows.
        dtype: of the weights.
        bias: whether to add one to even scalars, the only features that may have one; zero at first.
        num_modals: how many levels of theory add one more of their own; zero at first.

    With ``in_bfloat16`` set, factors are rounded to bfloat16 (three digits) before they are multiplied. Matrices and
    bias may have a leading dimension: members of a committee, each of whom has its share of the rows (:func:`matmul`).
    """

    def __init__(
        self, layout_in: Layout, layout_out: Layout, dtype: torch.dtype, bias: bool = False, num_modals: int = 0
    ) -> None:
        super().__init__()
        self.sizes = [(2 * block.l + 1) * block.channels for block in layout_in]
        self.blocks = _shared_blocks(layout_in, layout_out)
        scalars = [number for number, block in enumerate(layout_out) if block[1:] == (0, 1)]
        self.biased = scalars[0] if scalars else -1  # which block
        width = layout_out[self.biased].channels if scalars else 0
        self.bias: Optional[Tensor] = nn.Parameter(torch.zeros(width, dtype=dtype)) if bias and width else None
        self.modal_bias: Optional[Tensor] = (
            nn.Parameter(torch.zeros(num_modals, width, dtype=dtype)) if num_modals and width else None
        )
        # an empty matrix has no gradient, which data-parallel training would wait for
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(b[2], b[3], dtype=dtype), requires_grad=b[2] > 0) for b in self.blocks
        )
        self.in_bfloat16 = False

    def forward(self, x: Tensor, modal: Optional[Tensor] = None) -> Tensor:
        """x [N, dim in], modal [N] int64 where there are several -> [N, dim out]."""
        rows = x.shape[0]
        parts = x.split_with_sizes(self.sizes, dim=1)  # its gradient is one concatenation; a narrow's is padded with 0
        out: List[Tensor] = []
        for number, weight in enumerate(self.weights):
            block = self.blocks[number]
            components, channels = block[1], block[2]
            if channels == 0:
                out.append(x.new_zeros([rows, components * block[3]]))
            else:
                # two indices: with three torch multiplies atom by atom where the weights need no gradient
                x_block = parts[block[0]].reshape(rows * components, channels)
                product = matmul(x_block, weight * channels**-0.5, self.in_bfloat16)
                out.append(product.view(rows, components * block[3]))
            bias, modal_bias = self.bias, self.modal_bias
            if bias is not None and number == self.biased:
                if bias.dim() == 2:  # of each member, who is told by the modal
                    assert modal is not None
                    bias = bias.index_select(0, modal)
                out[-1] = out[-1] + bias
            if modal_bias is not None and number == self.biased:
                assert modal is not None
                out[-1] = out[-1] + modal_bias.index_select(0, modal)
        return torch.cat(out, dim=1)


class SpeciesLinear(nn.Module):
    """As :class:`EquivariantLinear`, with weights of its own for each species.

    Args:
        num_species: S.
        layout_in: of the input rows.
        layout_out: of the output rows.
        dtype: of the weights.
    """

    def __init__(self, num_species: int, layout_in: Layout, layout_out: Layout, dtype: torch.dtype) -> None:
        super().__init__()
        self.num_species = num_species
        self.sizes = [(2 * block.l + 1) * block.channels for block in layout_in]
        self.blocks = _shared_blocks(layout_in, layout_out)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(num_species, b[2], b[3], dtype=dtype), requires_grad=b[2] > 0) for b in self.blocks
        )
        self.in_bfloat16 = False

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """x [N, dim in], species [N] int64 -> [N, dim out]."""
        rows = x.shape[0]
        # one product with all species' weights side by side, each atom's row zero but in its own species' columns:
        # few species make this cheaper than gathering a matrix for each atom
        one_hot = torch.nn.functional.one_hot(species, self.num_species).to(x.dtype)  # [N, S]
        parts = x.split_with_sizes(self.sizes, dim=1)
        out: List[Tensor] = []
        for number, weight in enumerate(self.weights):
            block = self.blocks[number]
            components, channels = block[1], block[2]
            if channels == 0:
                out.append(x.new_zeros([rows, components * block[3]]))
            else:
                x_block = parts[block[0]].reshape(rows, components, 1, channels)
                spread = (x_block * one_hot.view(rows, 1, self.num_species, 1)).flatten(0, 1).flatten(1)
                matrix = weight.flatten(-3, -2) * channels**-0.5  # [S C in, C out]
                product = matmul(spread, matrix, self.in_bfloat16)  # [N (2l + 1), C out]
                out.append(product.view(rows, components * block[3]))
        return torch.cat(out, dim=1)
