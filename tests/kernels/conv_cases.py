"""Specs, graphs and derivative levels over which every implementation of the convolution is compared."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from equinet_kernels import ConvSpec, EdgeTopology, Layout, Path, edge_topology
from equinet_kernels.tolerances import relative_error

BOTH = [(l, p) for l in range(5) for p in (1, -1)]
NATURAL = [(l, (-1) ** l) for l in range(5)]


class Case(NamedTuple):
    """A spec, and the parity of the harmonics it was made for: (y_parity)^l."""

    spec: ConvSpec
    y_parity: int


def _case(x: str, l_max: int, targets: list[tuple[int, int]], y_parity: int = -1) -> Case:
    return Case(ConvSpec.all_paths(Layout.parse(x), l_max, targets, y_parity), y_parity)


CASES = {
    "scalars": _case("5x0e", 0, [(0, 1)]),
    "first layer": _case("33x0e", 3, NATURAL),
    "one channel, l = 1": _case("1x0e+1x1o", 1, BOTH[:4]),
    "natural parity, 32 channels, l = 2": _case("32x0e+32x1o+32x2e", 2, NATURAL[:3]),
    "128 channels": _case("128x0e+128x1o", 1, NATURAL[:2]),
    "both parities, l = 2": _case("5x0e+1x0o+3x1e+5x1o+2x2e+5x2o", 2, BOTH[:6]),
    "channels differ, l = 3": _case("33x0e+32x1o+5x2e+1x3o", 3, NATURAL[:4]),
    "parity ignored": _case("5x0e+5x1e+2x2e", 2, [(0, 1), (1, 1), (2, 1)], y_parity=1),
    "last layer": _case("8x0e+7x1o+6x2e+5x3o+4x4e", 4, [(0, 1)]),
    "everything to l = 4": _case("+".join(f"1x{l}e+1x{l}o" for l in range(5)), 4, BOTH),
    "above l = 4": Case(
        ConvSpec(
            Layout.parse("17x5o+2x0e+9x6e"),
            6,
            (Path(0, 1, 6, 1), Path(1, 6, 6, 1), Path(2, 0, 6, 1), Path(2, 5, 3, -1)),
        ),
        -1,
    ),
    "a block and a degree unused": Case(
        ConvSpec(Layout.parse("2x0e+3x1o+4x2e"), 3, (Path(0, 1, 1, -1), Path(2, 0, 2, 1), Path(2, 2, 0, 1))), -1
    ),
}
GRAPHS = ("a receiver with none", "one atom", "thousands")


class Inputs(NamedTuple):
    """What a convolution takes."""

    x: Tensor  # [N, dim x]
    y: Tensor  # [E, (l_max + 1)^2]
    w: Tensor  # [E, sum_p C_p]
    topology: EdgeTopology

    def to(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(self.x.to(dtype), self.y.to(dtype), self.w.to(dtype), self.topology)


def random_inputs(spec: ConvSpec, graph: str, seed: int = 0) -> Inputs:
    """Random features, harmonics and weights in float64 on one of the graphs."""
    random = torch.Generator().manual_seed(seed)

    def among(atoms: list[int], edges: int) -> Tensor:
        return torch.tensor(atoms)[torch.randint(0, len(atoms), (edges,), generator=random)]

    if graph == "no edges":
        nodes, receivers = 3, among([0], 0)
    elif graph == "one atom":  # its neighbours are its own periodic images
        nodes, receivers = 1, among([0], 6)
    elif graph == "a receiver with none":
        nodes, receivers = 6, among([0, 1, 3, 5], 30)
    elif graph == "thousands":
        nodes, receivers = 4, torch.cat([among([1], 2000), among([0, 2, 3], 50)])
    else:
        raise ValueError(f"no graph {graph!r}")
    receivers = receivers.sort().values
    edges = len(receivers)
    topology = edge_topology(among(list(range(nodes)), edges), receivers, nodes)

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, dtype=torch.float64, generator=random)

    return Inputs(normal(nodes, spec.x.dim), normal(edges, spec.y_dim), normal(edges, spec.weight_dim), topology)


def levels(convolution: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: Inputs) -> dict[str, Tensor]:
    """Result, first and second derivatives with fixed random cotangents, by name.

    ``d/dw`` is the backward of w; ``d2/dw`` the gradient by w of <cotangents, first derivatives>, ``d2/dg`` that by
    the cotangent of the result.
    """
    random = torch.Generator().manual_seed(1)

    def like(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, dtype=torch.float64, generator=random).to(tensor)

    # detach, not clone: strides and offsets are part of the test
    x, y, w = (tensor.detach().requires_grad_() for tensor in inputs[:3])
    out = convolution(x, y, w)
    g = like(out).requires_grad_()
    first = torch.autograd.grad(out, (x, y, w), g, create_graph=True)
    cotangents = [like(tensor) for tensor in first]
    second = torch.autograd.grad(first, (x, y, w, g), cotangents)
    names = ("out", "d/dx", "d/dy", "d/dw", "d2/dx", "d2/dy", "d2/dw", "d2/dg")
    return dict(zip(names, (tensor.detach() for tensor in (out, *first, *second)), strict=True))


def weight_columns(spec: ConvSpec) -> Iterator[tuple[Path, list[int]]]:
    """For each path the columns of its weights."""
    start = 0
    for path in spec.paths:
        channels = spec.x[path.i].channels
        yield path, list(range(start, start + channels))
        start += channels


def output_columns(spec: ConvSpec) -> Iterator[tuple[Path, list[int]]]:
    """For each path the columns of its output: a [2 l3 + 1, C] part of the merged block of (l3, p3)."""
    start = 0
    for irrep in sorted({path[2:] for path in spec.paths}):
        paths = [path for path in spec.paths if path[2:] == irrep]
        width = sum(spec.x[path.i].channels for path in paths)
        first_channel = start
        for path in paths:
            channels = range(first_channel, first_channel + spec.x[path.i].channels)
            yield path, [c + width * k for k in range(2 * path.l3 + 1) for c in channels]
            first_channel += len(channels)
        start += width * (2 * irrep[0] + 1)


def errors(
    spec: ConvSpec, ours: dict[str, Tensor], oracle: dict[str, Tensor], smallest_part: int = 1
) -> dict[str, float]:
    """Relative errors of every tensor, and of every path's part of it: one wrong path hides among twenty right ones.

    Parts of fewer numbers than ``smallest_part`` are left out: in float32 the largest of three numbers may itself be
    what a cancellation left.
    """
    found = {name: relative_error(ours[name], oracle[name]) for name in oracle}
    for columns_of, names in ((weight_columns, ("d/dw", "d2/dw")), (output_columns, ("out", "d2/dg"))):
        for path, columns in columns_of(spec):
            for name in names:
                part = oracle[name][:, columns]
                if part.numel() >= smallest_part:
                    found[f"{name} of {path}"] = relative_error(ours[name][:, columns], part)
    return found
