"""The Triton convolution in numbers: all three levels, path by path, against the reference.

Without a GPU, Triton interprets the kernels: the graphs are as small as can be, and what only a GPU can get wrong stays
unseen. With one, the same tests run there.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from equinet_kernels import Block, ConvSpec, EdgeTopology, Layout, Path, UVUConv, edge_topology, use
from equinet_kernels.conv.triton import launch
from equinet_kernels.conv.triton.plan import Level, make_plan
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.conv_cases import BOTH, CASES, NATURAL, Inputs, errors, levels, random_inputs

tl = pytest.importorskip("triton.language", reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True, scope="module")
def _runs_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Generated files go to a folder of the tests. Without a GPU, Triton interprets.

    The variable that says so is read when a function is defined, and Triton's own library is defined by now: torch
    imports Triton, and any other test torch. What the kernels use of that library is replaced.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUINET_CACHE", str(tmp_path_factory.mktemp("cache")))
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
            patch.setattr(tl, "zeros", lambda shape, dtype: tl.full(shape, 0, dtype))
            patch.setattr(tl, "sum", lambda value, axis: tl.reduce(value, axis, tl.standard._sum_combine))
        yield


class Forward(torch.autograd.Function):
    """The three levels, as autograd wants them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, w: Tensor, *graph: Any) -> Tensor:
        ctx.save_for_backward(x, y, w)
        ctx.graph = graph
        return launch.forward(x, y, w, *graph)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return *Backward.apply(g, *ctx.saved_tensors, *ctx.graph), None, None


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, y: Tensor, w: Tensor, *graph: Any) -> tuple[Tensor, ...]:
        ctx.save_for_backward(g, x, y, w)
        ctx.graph = graph
        return launch.backward(g, x, y, w, *graph)

    @staticmethod
    def backward(ctx: Any, x_dot: Tensor, y_dot: Tensor, w_dot: Tensor) -> tuple[Any, ...]:
        return *launch.double_backward(x_dot, y_dot, w_dot, *ctx.saved_tensors, *ctx.graph), None, None


def on_device(topology: EdgeTopology) -> EdgeTopology:
    return EdgeTopology(*(index.to(DEVICE) for index in topology))


def ours(spec: ConvSpec, inputs: Inputs) -> dict[str, Tensor]:
    topology = on_device(inputs.topology)

    def convolution(*tensors: Tensor) -> Tensor:
        out: Tensor = Forward.apply(*(tensor.to(DEVICE) for tensor in tensors), topology, spec)
        return out.cpu()

    return levels(convolution, inputs)


def of_reference(spec: ConvSpec, inputs: Inputs) -> dict[str, Tensor]:
    with use("reference"):
        return levels(partial(UVUConv(spec, inputs.x.dtype), topology=inputs.topology), inputs)


def on_graph(spec: ConvSpec, senders: list[int], receivers: list[int], nodes: int) -> Inputs:
    """Random numbers in float64."""
    random = torch.Generator().manual_seed(0)
    sizes = ((nodes, spec.x.dim), (len(senders), spec.y_dim), (len(senders), spec.weight_dim))
    numbers = (torch.randn(*size, dtype=torch.float64, generator=random) for size in sizes)
    edges = (torch.tensor(nodes, dtype=torch.int64) for nodes in (senders, receivers))
    return Inputs(*numbers, edge_topology(*edges, nodes))


def few_edges(spec: ConvSpec) -> Inputs:
    """Node 1 receives nothing, node 2 sends nothing, node 3 sends twice to one and once to itself."""
    return on_graph(spec, senders=[3, 3, 1, 0, 3], receivers=[0, 0, 2, 2, 3], nodes=4)


def one_edge(spec: ConvSpec) -> Inputs:
    return on_graph(spec, senders=[1], receivers=[0], nodes=2)


def assert_equal(spec: ConvSpec, inputs: Inputs, dtype: torch.dtype = torch.float64) -> None:
    smallest_part = 1 if dtype == torch.float64 else 16
    found = errors(spec, ours(spec, inputs.to(dtype)), of_reference(spec, inputs), smallest_part)
    assert {name: error for name, error in found.items() if not error <= TOLERANCES[dtype]} == {}


UP_TO_L2 = [name for name, case in CASES.items() if max(case.spec.l_max, *(block.l for block in case.spec.x)) <= 2]


@pytest.mark.parametrize("name", UP_TO_L2)
def test_all_levels_equal_the_reference(name):
    spec = CASES[name].spec
    assert_equal(spec, few_edges(spec))


@pytest.mark.parametrize("name", ["first layer", "a block and a degree unused"])
def test_specs_with_something_missing(name):
    spec = CASES[name].spec
    assert_equal(spec, few_edges(spec))


@pytest.mark.parametrize("name", ["one channel, l = 1", "natural parity, 32 channels, l = 2"])
def test_single_precision(name):
    spec = CASES[name].spec
    assert_equal(spec, few_edges(spec), torch.float32)


def high_degrees(l1: int) -> ConvSpec:
    """Every path up to l = 4 that has an l above 2, out of a block of degree l1."""
    p = (-1) ** l1
    everything = ConvSpec.all_paths(Layout([Block(2, l1, p)]), 4, BOTH)
    return ConvSpec(everything.x, 4, tuple(path for path in everything.paths if max(l1, path.l2, path.l3) > 2))


@pytest.mark.parametrize("l1", range(5))
def test_paths_of_degree_3_and_4(l1):
    spec = high_degrees(l1)
    assert_equal(spec, one_edge(spec))


CHANNELS = ["1x0e+5x1o", "32x0e+33x1o", "33x0e+1x1o", "200x0e+96x1o"]


@pytest.mark.parametrize("x", CHANNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_channels(x, dtype):
    """Fewer than a tile, just one tile, and more, of several tiles."""
    spec = ConvSpec.all_paths(Layout.parse(x), 1, NATURAL[:2])
    assert_equal(spec, on_graph(spec, senders=[1, 0, 1], receivers=[0, 0, 1], nodes=2), dtype)


def test_cases_cover_every_kind_of_division():
    specs = [high_degrees(l1) for l1 in range(5)]
    specs += [ConvSpec.all_paths(Layout.parse(x), 1, NATURAL[:2]) for x in CHANNELS]
    plans = [make_plan(spec, level, itemsize) for spec in specs for level in Level for itemsize in (4, 8)]
    assert {1, 2, 8, 32, 64, 128} <= {group.width for plan in plans for group in plan.groups}
    assert any(group.tiles > 1 for plan in plans for group in plan.groups)
    assert any(run.copies > 1 for plan in plans for run in plan.runs), "paths of a block in several groups"


@pytest.mark.parametrize("name", ["scalars", "natural parity, 32 channels, l = 2", "a block and a degree unused"])
def test_no_edges_give_zeros(name):
    spec = CASES[name].spec
    found = ours(spec, random_inputs(spec, "no edges"))
    assert found["out"].shape == found["d2/dg"].shape == (3, spec.out.dim)
    assert found["d/dx"].shape == (3, spec.x.dim)
    assert found["d/dy"].shape == (0, spec.y_dim)
    assert found["d2/dw"].shape == (0, spec.weight_dim)
    assert all((tensor == 0).all() for tensor in found.values())


def test_no_atoms():
    spec = CASES["scalars"].spec
    found = ours(spec, on_graph(spec, [], [], 0))
    assert found["out"].shape == found["d2/dg"].shape == (0, spec.out.dim)


def test_one_atom():
    spec = CASES["one channel, l = 1"].spec
    assert_equal(spec, random_inputs(spec, "one atom"))


@pytest.fixture
def poisoned_memory():
    """Fill uninitialised memory with NaN, so that a value read before it is written, or never written, shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["one channel, l = 1", "a block and a degree unused"])
def test_same_bits_every_time(name, dtype, poisoned_memory):
    spec = CASES[name].spec
    inputs = few_edges(spec).to(dtype)
    first = ours(spec, inputs)
    assert all(tensor.isfinite().all() for tensor in first.values())
    again = ours(spec, inputs)
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def every_other_column(tensor: Tensor) -> Tensor:
    """The same values between NaN."""
    return torch.stack([tensor, torch.full_like(tensor, float("nan"))], dim=-1).flatten(-2)[..., ::2]


def test_memory_layout_does_not_matter():
    spec = CASES["one channel, l = 1"].spec
    inputs = few_edges(spec)
    g = torch.randn(len(inputs.x), spec.out.dim, dtype=torch.float64)
    tensors = [tensor.to(DEVICE) for tensor in (*inputs[:3], g, *inputs[:3])]
    strided = [every_other_column(tensor) for tensor in tensors]
    assert not any(tensor.is_contiguous() for tensor in strided)
    topology = on_device(inputs.topology)
    spread = EdgeTopology(*(torch.stack([index, -index], dim=1)[:, 0] for index in topology))
    expected = launch.double_backward(*tensors, topology, spec)
    found = launch.double_backward(*strided, spread, spec)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@st.composite
def small_cases(draw: st.DrawFn) -> tuple[ConvSpec, list[int], list[int], int]:
    irreps = st.tuples(st.integers(0, 2), st.sampled_from([1, -1]))
    x = Layout(
        Block(draw(st.integers(1, 9)), l, p) for l, p in draw(st.lists(irreps, min_size=1, max_size=2, unique=True))
    )
    l_max = draw(st.integers(0, 2))
    allowed = [
        Path(i, l2, l3, p3)
        for i, block in enumerate(x)
        for l2 in range(l_max + 1)
        for l3 in range(abs(block.l - l2), block.l + l2 + 1)
        for p3 in (-1, 1)
    ]
    paths = draw(st.sets(st.sampled_from(allowed), min_size=1, max_size=4))
    nodes = draw(st.integers(1, 3))
    edges = draw(st.lists(st.tuples(*[st.integers(0, nodes - 1)] * 2), max_size=3))
    receivers, senders = zip(*sorted(edges), strict=True) if edges else ((), ())
    return ConvSpec(x, l_max, tuple(sorted(paths))), list(senders), list(receivers), nodes


@settings(max_examples=15, deadline=None, derandomize=True)
@given(small_cases())
def test_any_small_case_equals_the_reference(case):
    assert_equal(case[0], on_graph(*case))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs 40 GB of a GPU's memory")
def test_more_than_2_to_the_31_elements():
    """The last node's share of everything, where 32-bit addresses would have gone round."""
    spec = ConvSpec.all_paths(Layout.parse("128x0e+128x1o+128x2e"), 2, NATURAL[:3])
    edges = 2**31 // spec.weight_dim + 1000
    nodes = edges // 100 + 1
    receivers = torch.arange(edges, device=DEVICE) // 100
    senders = (receivers + 1) % nodes
    topology = edge_topology(senders, receivers, nodes)
    x = torch.randn(nodes, spec.x.dim, device=DEVICE)
    y = torch.randn(edges, spec.y_dim, device=DEVICE)
    w = torch.randn(edges, spec.weight_dim, device=DEVICE)
    g = torch.randn(nodes, spec.out.dim, device=DEVICE)
    assert w.numel() > 2**31
    last = receivers == receivers[-1]
    share = edge_topology(senders[last], receivers[last], nodes)
    out = launch.forward(x, y, w, topology, spec)
    expected = launch.forward(x, y[last], w[last], share, spec)
    assert relative_error(out[receivers[-1]], expected[receivers[-1]]) == 0.0
    dx, dy, dw = launch.backward(g, x, y, w, topology, spec)
    expected_dx, expected_dy, expected_dw = launch.backward(g, x, y[last], w[last], share, spec)
    assert relative_error(dx[senders[-1]], expected_dx[senders[-1]]) == 0.0
    assert relative_error(dy[last], expected_dy) == 0.0
    assert relative_error(dw[last], expected_dw) == 0.0
