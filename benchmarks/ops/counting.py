"""What a fused convolution cannot avoid: bytes and floating-point operations of a level, counted from the spec.

Bytes are compulsory traffic: every input is read once and every result written once, each edge's rows for each edge, a
node's rows once for each node however many edges use them. Nothing of size [E, dim out] or [E, dim x] moves, and caches
are perfect, so a real kernel moves more. Sender indices and row pointers are int64.

Operations are those of the form that builds ``B[k, i] = sum_j C_ijk Y_j`` once for all channels of an edge; a
multiply-add counts as two. nnz(C) and nnz(B) count the entries that are not zero whatever Y is, K = 2 l3 + 1, and C_p
is the number of channels.

| level | reads | writes | operations of an edge and path |
|---|---|---|---|
| forward | x, Y, W | out | 2 nnz(C) + C_p (2 nnz(B) + 2 K) |
| backward | x, Y, W, g | dx, dY, dW | 4 nnz(C) + C_p (6 nnz(B) + 3 K), and dim x sums at senders |
| double_backward | x, x', Y, Y', W, W', g | gx, gY, gW, gg | 6 nnz(C) + C_p (14 nnz(B) + 8 K), and dim x sums |

Backward: Bx, B^T (W g) and the outer product of x and W g that dY contracts take nnz(B) multiply-adds each, W g and the
dot of g and Bx 3 K. Double backward, with x', Y', W' the cotangents of dx, dY, dW and B' made from Y': Bx, Bx', B'x,
B'^T (W g), B^T (W' g) and two outer products for gY; 8 K for W' (Bx) + W (Bx' + B'x), the dot of g and Bx' + B'x, W g
and W' g.
"""

from typing import NamedTuple

from equinet_kernels import ConvSpec


class Cost(NamedTuple):
    """Of one call."""

    bytes: int
    flops: int


class _Terms(NamedTuple):
    """Factors of a level: how often rows of each kind move, and the operations of an edge and path."""

    edge_rows: int  # of Y and W
    x_rows: int
    out_rows: int
    per_coupling: int
    per_entry: int  # of B and channel
    per_component: int  # of the path's output and channel
    sender_sums: int


_TERMS = {
    "forward": _Terms(1, 1, 1, 2, 2, 2, 0),
    "backward": _Terms(2, 2, 1, 4, 6, 3, 1),
    "double_backward": _Terms(3, 3, 2, 6, 14, 8, 1),
}


def cost(spec: ConvSpec, level: str, nodes: int, edges: int, element_size: int) -> Cost:
    """Count bytes and operations of one level on a graph; ``element_size`` is that of a number, in bytes."""
    terms = _TERMS[level]
    numbers = edges * terms.edge_rows * (spec.y_dim + spec.weight_dim)
    numbers += nodes * (terms.x_rows * spec.x.dim + terms.out_rows * spec.out.dim)
    indices = edges + nodes + 1

    operations = terms.sender_sums * spec.x.dim
    for path in spec.paths:
        nonzero = spec.coupling(path).abs() > 1e-12  # [i, j, k]
        of_channel = terms.per_entry * int(nonzero.any(dim=1).sum()) + terms.per_component * (2 * path.l3 + 1)
        operations += terms.per_coupling * int(nonzero.sum()) + spec.x[path.i].channels * of_channel
    return Cost(numbers * element_size + indices * 8, edges * operations)
