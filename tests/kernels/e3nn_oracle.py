"""The convolution by e3nn's TensorProduct and a scatter, in float64 to the last digit.

e3nn stores features as ``mul_ir`` ([C, 2l + 1] in a block) and here they are ``ir_mul``: the boundary transposes.
"""

from functools import cache

import torch
from e3nn import o3
from torch import Tensor

from equinet.nn.e3nn_boundary import to_e3nn, to_irreps
from equinet_kernels import ConvSpec


def exact_constants(product: o3.TensorProduct) -> o3.TensorProduct:
    """Replace the coupling constants, which e3nn makes in float32, by their float64 values.

    ``.double()`` alone leaves an error of 1e-8, larger than the errors looked for here.
    """
    product = product.double()
    for name, buffer in product.named_buffers():
        if "_w3j_" in name:
            l1, l2, l3 = (int(l) for l in name.split("_w3j_")[1].split("_"))
            buffer.copy_(o3.wigner_3j(l1, l2, l3, dtype=torch.float64))
    return product


@cache
def tensor_product(spec: ConvSpec, y_parity: int) -> o3.TensorProduct:
    """One "uvu" instruction for each path, each with an output block of its own; constants sqrt(2 l3 + 1) w3j."""
    instructions = [(path.i, path.l2, number, "uvu", True) for number, path in enumerate(spec.paths)]
    product = o3.TensorProduct(
        to_irreps(spec.x),
        [(1, (l, y_parity**l)) for l in range(spec.l_max + 1)],
        [(spec.x[path.i].channels, (path.l3, path.p3)) for path in spec.paths],
        instructions,
        shared_weights=False,
        internal_weights=False,
        irrep_normalization="component",
        path_normalization="none",
    )
    return exact_constants(product)


def convolve(
    spec: ConvSpec, x: Tensor, y: Tensor, w: Tensor, senders: Tensor, receivers: Tensor, y_parity: int = -1
) -> Tensor:
    """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p], all float64 -> [N, dim out]."""
    messages = tensor_product(spec, y_parity)(to_e3nn(x, spec.x)[senders], y, w)
    sums = messages.new_zeros(x.shape[0], messages.shape[1]).index_add(0, receivers, messages)

    joined: dict[tuple[int, int], list[Tensor]] = {}
    start = 0
    for path in spec.paths:
        channels, components = spec.x[path.i].channels, 2 * path.l3 + 1
        piece = sums[:, start : start + channels * components].reshape(-1, channels, components)
        joined.setdefault((path.l3, path.p3), []).append(piece.transpose(1, 2))
        start += channels * components
    return torch.cat([torch.cat(joined[irrep], dim=2).flatten(1) for irrep in sorted(joined)], dim=1)
