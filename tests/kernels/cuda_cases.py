"""Specs over which the CUDA convolution is compared with the reference, and the comparison."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import ConvSpec, Layout
from equinet_kernels import Path as CouplingPath
from equinet_kernels.conv import cuda
from equinet_kernels.conv.reference import reference_tables, uvu_conv_reference
from equinet_kernels.tolerances import TOLERANCES
from tests.kernels.conv_cases import CASES, NATURAL, Inputs, errors, levels

DTYPES = (torch.float64, torch.float32)
NEQUIP = ConvSpec.all_paths(Layout.parse("128x0e+128x1o+128x2e"), 2, NATURAL[:3])
SEVENNET = ConvSpec.all_paths(Layout.parse("128x0e+64x1e+32x2e"), 2, [(0, 1), (1, 1), (2, 1)], y_parity=1)
MACE = ConvSpec.all_paths(Layout.parse("128x0e+128x1o"), 3, NATURAL[:4])


def _one_path_each(layout: str, l2: int = 0) -> ConvSpec:
    x = Layout.parse(layout)
    return ConvSpec(x, max(l2, 1), tuple(CouplingPath(i, l2, abs(block.l - l2), block.p) for i, block in enumerate(x)))


MORE = {
    "SevenNet-0": SEVENNET,
    "more tiles than one, not in every block": ConvSpec.all_paths(Layout.parse("3x0e+290x1o+2x1e"), 1, NATURAL[:2]),
    "more groups than one": ConvSpec.all_paths(Layout.parse("2x3o+1x6e"), 6, [(l, (-1) ** l) for l in range(7)]),
    "one path twice, with both parities": ConvSpec(
        Layout.parse("3x1o"), 1, tuple(CouplingPath(0, l2, 1, p) for l2 in (0, 1) for p in (-1, 1))
    ),
    "NequIP": NEQUIP,
    "128 channels, few rows": ConvSpec.all_paths(Layout.parse("128x0e+128x1o+128x2e+128x3o"), 3, NATURAL[:2]),
    "64 channels": _one_path_each("64x0e+64x1o+64x2e+64x3o"),
    "32 channels and less": _one_path_each("32x0e+31x1o+30x2e+29x3o+3x4e+3x5o+3x6e", l2=1),
    "many channels, many rows": ConvSpec.all_paths(Layout.parse("100x0e+100x1o+100x2e+100x3o"), 3, NATURAL[:4]),
    "64 channels, many rows": ConvSpec.all_paths(Layout.parse("64x0e+64x1o+64x2e+64x3o"), 4, NATURAL),
    "many scalars, many rows": ConvSpec.all_paths(
        Layout.parse("100x0e+50x0o"), 4, NATURAL + [(l, -p) for l, p in NATURAL]
    ),
}
"""What the common cases leave out: every kernel that is compiled shall run."""
SPECS = {name: case.spec for name, case in CASES.items()} | MORE


class Forward(torch.autograd.Function):
    """The three levels, as autograd wants them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, w: Tensor, *graph: Any) -> Tensor:
        ctx.save_for_backward(x, y, w)
        ctx.graph = graph
        return cuda.forward(*dense(x, y, w), *graph)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return *Backward.apply(g, *ctx.saved_tensors, *ctx.graph), None, None


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, y: Tensor, w: Tensor, *graph: Any) -> tuple[Tensor, ...]:
        ctx.save_for_backward(g, x, y, w)
        ctx.graph = graph
        return cuda.backward(*dense(g, x, y, w), *graph)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        return *cuda.double_backward(*dense(*cotangents, *ctx.saved_tensors), *ctx.graph), None, None


def dense(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def ours(spec: ConvSpec, inputs: Inputs) -> dict[str, Tensor]:
    return levels(lambda x, y, w: Forward.apply(x, y, w, inputs.topology, spec), inputs)


def of_reference(spec: ConvSpec, inputs: Inputs) -> dict[str, Tensor]:
    tables = reference_tables(spec, inputs.x.dtype)
    tables = tables._replace(
        coupling=tables.coupling.to(inputs.x.device), row_paths=tables.row_paths.to(inputs.x.device)
    )
    senders, receivers = inputs.topology.senders, inputs.topology.receivers
    return levels(lambda x, y, w: uvu_conv_reference(x, y, w, senders, receivers, tables), inputs)


def beyond(tolerance: float, found: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error <= tolerance}


def check_numbers(spec: ConvSpec, inputs: Inputs) -> None:
    """Both precisions against the reference in float64, path by path."""
    oracle = of_reference(spec, inputs)
    assert beyond(TOLERANCES[torch.float64], errors(spec, ours(spec, inputs), oracle)) == {}
    single = errors(spec, ours(spec, inputs.to(torch.float32)), oracle, smallest_part=16)
    assert beyond(TOLERANCES[torch.float32], single) == {}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in b)


def kernels_of(spec: ConvSpec, dtype: torch.dtype) -> Iterator[str]:
    """The kernels that a convolution launches, as C++ calls them."""
    number = {torch.float32: "float", torch.float64: "double"}[dtype]
    for level, kernel in enumerate(("forward", "backward", "double_backward")):
        for group in cuda.describe(spec, dtype, level):
            numbers = [group["d1"], group["vectors"]]
            if kernel == "forward":
                small = group["d1"] <= 7 and group["vectors"] * dtype.itemsize > 4 and group["rows"] <= 16
                numbers.insert(1, 16 if small else 32)
            yield f"{kernel}<{number}, {', '.join(map(str, numbers))}>"
