"""Small calls of every operator, and calls to be refused: for one process to make and another to repeat."""

import torch
from torch import Tensor

from equinet_kernels import edge_topology
from equinet_kernels.tolerances import TOLERANCES
from tests.kernels.conv_cases import CASES, Inputs, random_inputs
from tests.kernels.derivatives import normal

SPEC = CASES["both parities, l = 2"].spec
DIFFERENTIABLE = {
    "uvu_conv", "radial_uvu_conv", "tabulated_uvu_conv", "radial_spline", "spherical_harmonics",
    "edge_vectors", "edge_vectors_backward", "segment_sum", "segment_gather", "ghost_rows", "ghost_rows_backward",
}  # fmt: skip
"""Without Python; the others refuse."""


def inputs_of(spec=SPEC, dtype: torch.dtype = torch.float64) -> Inputs:
    return random_inputs(spec, "a receiver with none").to(dtype)


def cotangent(x: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(len(x), SPEC.out.dim, dtype=torch.float64, generator=random).to(x.dtype)


def good_calls() -> list[tuple[str, list]]:
    """One small call of every operator, and what else is worth a call."""
    calls: list[tuple[str, list]] = []
    for dtype in TOLERANCES:
        x, y, w, topology = inputs_of(dtype=dtype)
        graph = [*topology, str(SPEC)]
        g = cotangent(x)
        calls += [
            ("uvu_conv", [x, y, w, *graph]),
            ("uvu_conv_backward", [g, x, y, w, *graph]),
            ("uvu_conv_double_backward", [x.sin(), y.sin(), w.sin(), g, x, y, w, *graph]),
        ]
    strided = [x.T.contiguous().T, torch.cat([y, y], dim=1)[:, : SPEC.y_dim], w[:1].expand(len(w), -1)]
    calls.append(("uvu_conv", [*strided, *graph]))
    x, y, w, topology = random_inputs(SPEC, "no edges")
    calls.append(("uvu_conv", [x, y, w, *topology, str(SPEC)]))
    return calls + radial_calls() + geometry_calls()


def radial_calls() -> list[tuple[str, list]]:
    """On several blocks of receivers, one of them with more edges than a block should have."""
    spec, nodes = CASES["one channel, l = 1"].spec, 30
    receivers = (
        torch.cat([torch.arange(2000) % 10, torch.full((2500,), 10), torch.arange(1000) % 15 + 11]).sort().values
    )
    edges = len(receivers)
    graph = [*edge_topology(receivers.flip(0), receivers, nodes), str(spec)]
    x, y, g = normal(nodes, spec.x.dim, seed=1), normal(edges, spec.y_dim, seed=2), normal(nodes, spec.out.dim, seed=3)
    h, weight = normal(edges, 3, seed=4), normal(3, spec.weight_dim, seed=5)
    dots = [x.sin(), y.sin(), h.sin()]
    vectors, table = normal(edges, 3, seed=6), normal(9, 6, spec.weight_dim, seed=7)
    single = [tensor.float() for tensor in (x, table, g)]
    return [
        ("radial_uvu_conv", [x, y, h, weight, *graph]),
        ("radial_uvu_conv_backward", [g, x, y, h, weight, *graph]),
        ("radial_uvu_conv_double_backward", [*dots, weight.sin(), g, x, y, h, weight, *graph]),
        ("radial_uvu_conv_double_backward", [*dots, None, g, x, y, h, weight, *graph]),
        ("tabulated_uvu_conv", [x, vectors, table, 0.25, *graph]),
        ("tabulated_uvu_conv", [single[0], vectors, single[1], 0.25, *graph]),
        ("tabulated_uvu_conv_backward", [g, x, vectors, table, 0.25, *graph]),
        ("tabulated_uvu_conv_backward", [single[2], single[0], vectors, single[1], 0.25, *graph]),
        ("radial_spline", [vectors.norm(dim=1), table, 0.25, 0]),
        ("radial_spline", [vectors.norm(dim=1), single[1], 0.25, 2]),
        ("radial_spline", [vectors.norm(dim=1), table, 0.25, 3]),
    ]


def geometry_calls(dtype: torch.dtype = torch.float64) -> list[tuple[str, list]]:
    """In two structures; the last atom has no edge."""
    atoms, senders, receivers = 5, torch.tensor([1, 2, 0, 4, 3, 3]), torch.tensor([0, 0, 1, 2, 3, 3])
    edges = len(senders)
    topology = edge_topology(senders, receivers, atoms)
    images = torch.arange(3 * edges).reshape(edges, 3) % 3 - 1
    rest = [torch.tensor([0, 0, 0, 1, 1]), images, *topology]
    positions, cell, g = normal(atoms, 3, seed=1), normal(2, 3, 3, seed=2), normal(edges, 3, seed=3)
    y, values, sums = normal(edges, 16, seed=4), normal(edges, 2, 3, seed=5), normal(atoms, 2, 3, seed=6)
    calls = [
        ("spherical_harmonics", [g, 3]),
        ("spherical_harmonics_backward", [y, g, 3]),
        ("spherical_harmonics_double_backward", [g.sin(), y, g, 3]),
        ("edge_vectors", [positions, cell, *rest]),
        ("edge_vectors_backward", [g, 2, *rest]),
        ("segment_sum", [values, topology.row_ptr]),
        ("segment_gather", [sums, topology.row_ptr, edges]),
        ("ghost_rows", [positions, 0]),
        ("ghost_rows_backward", [positions, 0]),
    ]
    if dtype == torch.float64:
        return calls + geometry_calls(torch.float32)
    cast = [[a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args] for _, args in calls]
    return list(zip([name for name, _ in calls], cast, strict=True))


def broken_geometry_calls() -> list[tuple[str, list]]:
    by_name = dict(reversed(geometry_calls()))
    g, _ = by_name["spherical_harmonics"]
    y, *_ = by_name["spherical_harmonics_backward"]
    positions, cell, batch, images, *graph = by_name["edge_vectors"]
    values, row_ptr = by_name["segment_sum"]
    sums, *_ = by_name["segment_gather"]
    return [
        ("spherical_harmonics", [g, 7]),
        ("spherical_harmonics", [g[:, :2], 3]),
        ("spherical_harmonics", [g.half(), 3]),
        ("spherical_harmonics_backward", [y[:, 1:], g, 3]),
        ("spherical_harmonics_double_backward", [g.float(), y, g, 3]),
        ("edge_vectors", [positions.float(), cell, batch, images, *graph]),
        ("edge_vectors", [positions, cell[0], batch, images, *graph]),
        ("edge_vectors", [positions[1:], cell, batch, images, *graph]),
        ("edge_vectors", [positions, cell, batch, images.int(), *graph]),
        ("edge_vectors", [positions, cell, batch, images[:, :2], *graph]),
        ("edge_vectors", [positions, cell, batch, images, graph[0][1:], *graph[1:]]),
        ("edge_vectors", [positions, cell, batch, images, graph[0] + 9, *graph[1:]]),
        ("edge_vectors", [positions, cell, batch + 1, images, *graph]),
        ("edge_vectors_backward", [g[1:], 2, batch, images, *graph]),
        ("ghost_rows", [positions, 2]),
        ("ghost_rows", [positions[:, 0], 0]),
        ("ghost_rows_backward", [positions[:1], 2]),
        ("segment_sum", [values.long(), row_ptr]),
        ("segment_sum", [values, row_ptr[:0]]),
        ("segment_sum", [values[0, 0, 0], row_ptr]),
        ("segment_sum", [values, row_ptr[None]]),
        ("segment_sum", [values, row_ptr.flip(0)]),
        ("segment_gather", [sums[1:], row_ptr, 6]),
        ("segment_gather", [sums, row_ptr, 7]),
    ]


def broken_calls() -> list[tuple[str, list]]:
    """Calls to be refused."""
    x, y, w, topology = inputs_of()
    graph = [*topology, str(SPEC)]
    g = cotangent(x)
    return [
        ("uvu_conv", [x[:, :3], y, w, *graph]),
        ("uvu_conv", [x, y[:4], w, *graph]),
        ("uvu_conv", [x, y, w[0], *graph]),
        ("uvu_conv", [x, y.float(), w, *graph]),
        ("uvu_conv", [x.half(), y.half(), w.half(), *graph]),
        ("uvu_conv_backward", [g[:, :2], x, y, w, *graph]),
        ("uvu_conv_backward", [g.float(), x, y, w, *graph]),
        ("uvu_conv_double_backward", [x, y, w[:, 1:], g, x, y, w, *graph]),
        ("uvu_conv", [x, y, w, *topology, "nonsense"]),
        ("uvu_conv", [x, y, w, topology.senders.int(), *graph[1:]]),
        ("uvu_conv", [x, y, w, *graph[:2], topology.row_ptr[1:], *graph[3:]]),
        ("uvu_conv", [x, y, w, *graph[:4], topology.sender_ptr[1:], graph[5]]),
        ("uvu_conv", [x, y, w, topology.senders + 3, *graph[1:]]),
        ("uvu_conv_backward", [g, x, y, w, *graph[:2], topology.row_ptr.flip(0), *graph[3:]]),
        *broken_radial_calls(),
        *broken_geometry_calls(),
    ]


def broken_radial_calls() -> list[tuple[str, list]]:
    by_name = dict(reversed(radial_calls()))
    x, y, h, weight, *graph = by_name["radial_uvu_conv"]
    _, vectors, table, spacing, *_ = by_name["tabulated_uvu_conv"]
    lengths = vectors.norm(dim=1)
    return [
        ("radial_uvu_conv", [x, y, h[1:], weight, *graph]),
        ("radial_uvu_conv", [x, y, h, weight.T, *graph]),
        ("radial_uvu_conv", [x, y, h.float(), weight, *graph]),
        ("radial_uvu_conv", [x, y[:, 1:], h, weight, *graph]),
        ("radial_uvu_conv", [x, y, h, weight, *graph[:2], graph[2] * 2, *graph[3:]]),
        ("radial_uvu_conv_double_backward", [x, y, h, weight[1:], x, x, y, h, weight, *graph]),
        ("tabulated_uvu_conv", [x, vectors.float(), table, spacing, *graph]),
        ("tabulated_uvu_conv", [x, vectors, table[:, :, 1:], spacing, *graph]),
        ("tabulated_uvu_conv", [x, vectors, table.float(), spacing, *graph]),
        ("tabulated_uvu_conv", [x, vectors, table[:0], spacing, *graph]),
        ("tabulated_uvu_conv_backward", [x, x, vectors, table, spacing, *graph]),
        ("tabulated_uvu_conv", [x, vectors, table, spacing, graph[0] + 20, *graph[1:]]),
        ("radial_spline", [lengths.float(), table, spacing, 0]),
        ("radial_spline", [lengths, table[:, 0], spacing, 0]),
        ("radial_spline", [lengths, table.half(), spacing, 0]),
        ("radial_spline", [lengths, table, -0.25, 0]),
        ("radial_spline", [lengths, table, spacing, 4]),
    ]
