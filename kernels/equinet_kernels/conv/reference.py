"""The channel-wise equivariant convolution in plain torch: the oracle of every faster implementation.

    out[n, p, k, c] = sum over edges e of n:  W[e, p, c] * sum_ij C^p_ijk x[s(e), i, c] Y[e, j]

The small matrix ``B[k, i] = sum_j C_ijk Y_j`` is built first, once for all channels; what is left is a batched product.
"""

from typing import List, NamedTuple

import torch
from torch import Tensor

from equinet_kernels.segment.reference import index_sum
from equinet_kernels.spec import ConvSpec


class ReferenceTables(NamedTuple):
    """A spec in the form that both Python and TorchScript can loop over."""

    coupling: Tensor  # [(l_max + 1)^2, sum_i K_i (2 l_i + 1)], K_i output components of block i
    row_paths: Tensor  # [sum_i K_i] int64, path (counted within its block) that an output component belongs to
    blocks: List[List[int]]  # for each block of x with a path: [offset in x, 2 l + 1, C, K, number of paths]
    out_components: List[int]  # 2 l + 1 of each output block
    pieces: List[List[int]]  # for each path, by output block: [output block, entry of `blocks`, first row in its K]


def reference_tables(spec: ConvSpec, dtype: torch.dtype) -> ReferenceTables:
    """Lay the spec out for :func:`uvu_conv_reference`."""
    couplings: list[Tensor] = []
    row_paths: list[int] = []
    blocks: list[list[int]] = []
    pieces: list[list[int]] = []
    for i, (offset, block) in enumerate(zip(spec.x.offsets, spec.x, strict=True)):
        paths = [path for path in spec.paths if path.i == i]
        if not paths:
            continue
        coupling = spec.coupling_of_block(i)  # [Y, K, 2l + 1]
        couplings.append(coupling.flatten(1))
        row = 0
        for number, path in enumerate(paths):
            out = next(o for o, target in enumerate(spec.out) if target[1:] == (path.l3, path.p3))
            pieces.append([out, len(blocks), row])
            row_paths += [number] * (2 * path.l3 + 1)
            row += 2 * path.l3 + 1
        blocks.append([offset, 2 * block.l + 1, block.channels, row, len(paths)])
    return ReferenceTables(
        coupling=torch.cat(couplings, dim=1).to(dtype),
        row_paths=torch.tensor(row_paths, dtype=torch.int64),
        blocks=blocks,
        out_components=[2 * block.l + 1 for block in spec.out],
        pieces=sorted(pieces, key=lambda piece: piece[0]),
    )


def uvu_conv_reference(
    x: Tensor, y: Tensor, w: Tensor, senders: Tensor, receivers: Tensor, tables: ReferenceTables
) -> Tensor:
    """Convolve features with harmonics over the edges of a graph.

    Args:
        x: [N, dim x], blocks [2l + 1, C].
        y: [E, (l_max + 1)^2].
        w: [E, sum_p C_p], in path order.
        senders: [E] int64.
        receivers: [E] int64.
        tables: of the spec.

    Returns:
        [N, dim out], one block per output irreducible representation.
    """
    nodes, edges = x.shape[0], y.shape[0]
    b = y @ tables.coupling  # [E, sum_i K_i (2 l_i + 1)]
    sums: List[Tensor] = []
    b_start, w_start, row_start = 0, 0, 0
    for block in tables.blocks:
        x_start, components, channels, rows, paths = block[0], block[1], block[2], block[3], block[4]
        x_block = x.narrow(1, x_start, components * channels).index_select(0, senders)
        b_block = b.narrow(1, b_start, rows * components).reshape(edges, rows, components)
        w_block = w.narrow(1, w_start, paths * channels).reshape(edges, paths, channels)
        w_rows = w_block.index_select(1, tables.row_paths.narrow(0, row_start, rows))  # [E, K, C]
        x_block = x_block.reshape(edges, components, channels)
        # batched products with an inner dimension of one are 20 times slower than the multiplication they amount to
        bx = b_block * x_block if components == 1 else torch.bmm(b_block, x_block)  # [E, K, C]
        messages = bx * w_rows
        sums.append(index_sum(messages, receivers, nodes))  # [N, K, C]
        b_start += rows * components
        w_start += paths * channels
        row_start += rows
    columns: List[List[Tensor]] = [[] for _ in tables.out_components]
    for piece in tables.pieces:
        out, block_index, row = piece[0], piece[1], piece[2]
        columns[out].append(sums[block_index].narrow(1, row, tables.out_components[out]))
    # [N, (2l + 1) sum_p C_p] each
    return torch.cat([torch.cat(parts, dim=2).flatten(1) for parts in columns], dim=1)
