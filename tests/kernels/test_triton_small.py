"""The Triton harmonics, edge vectors and segment sums in numbers, against the compiled ones or the reference.

Without a GPU, Triton interprets the kernels, and compiles them for a GPU that is not there; how they run, and how fast,
only a GPU can tell.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from equinet_kernels import EdgeTopology, SphericalHarmonics, edge_topology, row_pointers, use
from equinet_kernels.geometry import edge_vectors_reference
from equinet_kernels.segment import segment_gather_reference, segment_sum_reference
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.derivatives import all_levels, normal
from tests.kernels.fresh_process import run_python

tl = pytest.importorskip("triton.language", reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MODULES = ("equinet_kernels.segment.triton", "equinet_kernels.geometry.triton", "equinet_kernels.harmonics.triton")


class Kernels(NamedTuple):
    """The modules under test."""

    segment: ModuleType
    geometry: ModuleType
    harmonics: ModuleType


def defined_anew() -> Kernels:
    """Whether a kernel is interpreted is settled when it is defined."""
    return Kernels(*(importlib.reload(importlib.import_module(name)) for name in MODULES))


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    """The modules as they run here. What they use of Triton's own library is replaced: it was defined long ago."""
    if DEVICE == "cuda":
        yield defined_anew()
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setattr(tl, "zeros", lambda shape, dtype: tl.full(shape, 0, dtype))
        patch.setattr(tl, "sum", lambda value, axis: tl.reduce(value, axis, tl.standard._sum_combine))
        yield defined_anew()
    defined_anew()


def there(*tensors: Tensor) -> list[Tensor]:
    return [tensor.to(DEVICE).contiguous() for tensor in tensors]


def assert_equal(found: Tensor | tuple[Tensor, ...], expected: Tensor | tuple[Tensor, ...], dtype: torch.dtype) -> None:
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for one, other in pairs:
        assert one.dtype == dtype
        assert relative_error(one.cpu(), other) <= TOLERANCES[dtype]


DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


@DTYPES
@pytest.mark.parametrize("l_max", range(7))
@pytest.mark.parametrize("edges", [0, 1, 7])
def test_harmonics(kernels, l_max, edges, dtype):
    vectors = torch.cat([torch.eye(3, dtype=torch.float64), normal(4, 3)])[:edges].to(dtype)
    g = normal(edges, (l_max + 1) ** 2, seed=4).to(dtype)
    with use("reference"):
        expected = all_levels(SphericalHarmonics(l_max), vectors.double(), cotangent=g.double())
    dot = normal(edges, 3, seed=2).to(dtype)
    vectors, g, dot = there(vectors, g, dot)
    assert_equal(kernels.harmonics.forward(vectors, l_max), expected["result"], dtype)
    assert_equal(kernels.harmonics.backward(g, vectors, l_max), expected["d0"], dtype)
    second = kernels.harmonics.double_backward(dot, g, vectors, l_max)
    assert_equal(second, (expected["ddg"], expected["dd0"]), dtype)


@DTYPES
@pytest.mark.parametrize("l", range(1, 7))
def test_harmonics_of_one_degree(kernels, l, dtype):
    """No large degree hides a small one."""
    vectors = normal(5, 3).to(dtype)
    g = normal(5, (l + 1) ** 2, seed=4).to(dtype)
    g[:, : l**2] = 0.0
    with use("reference"):
        expected = all_levels(SphericalHarmonics(l), vectors.double(), cotangent=g.double())
    dot = normal(5, 3, seed=2).to(dtype)
    vectors, g, dot = there(vectors, g, dot)
    assert_equal(kernels.harmonics.forward(vectors, l)[:, l**2 :], expected["result"][:, l**2 :], dtype)
    assert_equal(kernels.harmonics.backward(g, vectors, l), expected["d0"], dtype)
    gg, gd = kernels.harmonics.double_backward(dot, g, vectors, l)
    assert_equal(gg[:, l**2 :], expected["ddg"][:, l**2 :], dtype)
    assert_equal(gd, expected["dd0"], dtype)


@DTYPES
@pytest.mark.parametrize("trailing", [(), (3,), (130,), (2, 5), (0,)])
@pytest.mark.parametrize("segments", [[0, 0, 2, 2, 2, 4], [4], []], ids=str)
def test_segment_sum_and_gather(kernels, segments, trailing, dtype):
    row_ptr = row_pointers(torch.tensor(segments, dtype=torch.int64), 5)
    rows = normal(len(segments), *trailing).to(dtype)
    found = kernels.segment.segment_sum(*there(rows, row_ptr))
    assert_equal(found, segment_sum_reference(rows.double(), row_ptr), dtype)
    values = normal(5, *trailing).to(dtype)
    found = kernels.segment.segment_gather(*there(values, row_ptr), len(segments))
    assert_equal(found, segment_gather_reference(values.double(), row_ptr, len(segments)), dtype)


def test_segments_longer_than_a_tile(kernels):
    row_ptr = torch.tensor([0, 0, 2100, 2101])
    values = normal(2101)
    found = kernels.segment.segment_sum(*there(values, row_ptr))
    assert_equal(found, segment_sum_reference(values, row_ptr), torch.float64)
    found = kernels.segment.segment_gather(*there(normal(3), row_ptr), 2101)
    assert_equal(found, segment_gather_reference(normal(3), row_ptr, 2101), torch.float64)


def one_graph(senders: list[int], receivers: list[int], batch: list[int]) -> tuple[Tensor, Tensor, EdgeTopology]:
    images = torch.randint(-2, 3, (len(senders), 3), generator=torch.Generator().manual_seed(0))
    edges = (torch.tensor(nodes, dtype=torch.int64) for nodes in (senders, receivers))
    return torch.tensor(batch, dtype=torch.int64), images, edge_topology(*edges, len(batch))


GRAPHS = {
    "two structures, an atom without edges": one_graph([3, 3, 1, 0, 3, 4], [0, 0, 2, 2, 3, 4], [0, 0, 0, 0, 2, 2]),
    "more neighbours than a program adds at a time": one_graph([0, 1] * 40, [0] * 75 + [1] * 5, [0, 0]),
    "one edge": one_graph([0], [0], [0]),
    "no edges": one_graph([], [], [0, 1]),
    "no atoms": one_graph([], [], []),
}


@DTYPES
@pytest.mark.parametrize("name", GRAPHS)
def test_edge_vectors(kernels, name, dtype):
    batch, images, topology = GRAPHS[name]
    positions, cell = normal(len(batch), 3).to(dtype), normal(3, 3, 3, seed=1).to(dtype)

    def reference(positions: Tensor, cell: Tensor) -> Tensor:
        return edge_vectors_reference(positions, cell, batch, images, topology.senders, topology.receivers)

    g = normal(len(images), 3, seed=4).to(dtype)
    expected = all_levels(reference, positions.double(), cell.double(), cotangent=g.double())
    batch, images, *indices = there(batch, images, *topology)
    graph = batch, images, EdgeTopology(*indices)
    assert_equal(kernels.geometry.forward(*there(positions, cell), *graph), expected["result"], dtype)
    assert_equal(kernels.geometry.backward(*there(g), 3, *graph), (expected["d0"], expected["d1"]), dtype)


def test_same_bits_on_every_run(kernels):
    batch, images, topology = GRAPHS["more neighbours than a program adds at a time"]
    batch, images, *indices = there(batch, images, *topology)
    (g,) = there(normal(len(images), 3))
    runs = [kernels.geometry.backward(g, 1, batch, images, EdgeTopology(*indices)) for _ in range(3)]
    assert all(torch.equal(one, other) for run in runs for one, other in zip(run, runs[0], strict=True))


COMPILE = """
import re
import triton
from triton.backends.compiler import GPUTarget

from equinet_kernels.geometry import triton as geometry
from equinet_kernels.harmonics import triton as harmonics
from equinet_kernels.segment import triton as segment

INDICES = "batch images senders receivers row_ptr sender_perm sender_ptr".split()


def check(kernel, numbers, coefficients=(), **constants):
    for dtype, other in (("fp64", "f32"), ("fp32", "f64")):
        types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(INDICES, "*i64")
        types |= dict.fromkeys(numbers.split(), "*" + dtype) | dict.fromkeys(constants, "constexpr")
        types = {name: types[name] for name in kernel.arg_names}
        source = triton.compiler.ASTSource(fn=kernel, signature=types, constexprs=constants)
        code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ttir"]
        assert other not in code, (kernel, dtype)
        assert "atomic" not in code
        if dtype == "fp64":
            found = {float(text) for text in re.findall(r"dense<([-+.e0-9]+)>", code)}
            assert set(coefficients) <= found, (kernel, sorted(found))
        print(kernel.__name__, dtype)


def of(*names):
    orders = [(l, m) for l in (1, 2) for m in range(l)]
    every = {"_b": [(2, 0)], "_down": [(2, 1)]}
    return [getattr(harmonics, name)(*order) for name in names for order in every.get(name, orders)]


recursion = [harmonics._top(1), harmonics._top(2), *of("_a", "_b")]
gradient = of("_polar", "_up", "_down")
check(harmonics._forward, "directions y", recursion, L_MAX=2, EDGES=128)
check(harmonics._backward, "g directions d", [harmonics._top(1), *gradient], L_MAX=2, EDGES=128)
check(harmonics._double_backward, "d_dot g directions gg gd", recursion + gradient, L_MAX=2, EDGES=128)
check(segment._segment_sum, "values out", ROWS=16, COLUMNS=64)
check(segment._segment_gather, "values out", ROWS=16, COLUMNS=64, HALVINGS=32)
check(geometry._edge_vectors, "positions cell vectors", EDGES=128)
check(geometry._sum_over_edges, "g d_positions d_cells", NEIGHBORS=32)
"""


def test_kernels_compile_without_atomics_and_in_the_dtype_of_their_numbers(tmp_path):
    """A coefficient with a name of its own would be rounded to 32 bits, which the code shows in its value alone."""
    assert len(run_python(COMPILE, TRITON_CACHE_DIR=str(tmp_path)).splitlines()) == 14


TRACED = """
import torch, triton
from torch.fx.experimental.proxy_tensor import make_fx
from triton.backends.compiler import GPUTarget

from equinet_kernels import EdgeTopology, edge_topology
from equinet_kernels.geometry import triton as geometry
from equinet_kernels.harmonics import triton as harmonics
from equinet_kernels.segment import triton as segment


class NoDevice:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


def everything(positions, cell, batch, images, *indices):
    graph = batch, images, EdgeTopology(*indices)
    vectors = geometry.forward(positions, cell, *graph)
    y = harmonics.forward(vectors, 2)
    d = harmonics.backward(y, vectors, 2)
    second = harmonics.double_backward(d, y, vectors, 2)
    sums = segment.segment_sum(vectors[:, 0].contiguous(), indices[2])
    rows = segment.segment_gather(sums, indices[2], vectors.shape[0])
    return *geometry.backward(d, cell.shape[0], *graph), *second, rows


triton.runtime.driver.set_active(NoDevice())
topology = edge_topology(torch.tensor([1, 0, 2]), torch.tensor([0, 1, 1]), 4)
inputs = torch.zeros(4, 3), torch.zeros(2, 3, 3), torch.zeros(4).long(), torch.zeros(3, 3).long(), *topology
traced = make_fx(torch.func.functionalize(everything), tracing_mode="symbolic")(*inputs)
for node in traced.graph.nodes:
    if "triton_kernel_wrapper" in str(node.target):
        grid = node.kwargs["grid"][0]
        assert isinstance(grid[0], torch.fx.Node), "a number of programs has become a constant"
        print(*node.kwargs["tensors_to_clone"])
guards = traced.shape_env.format_guards().splitlines()
assert all(guard.endswith(">= 2") for guard in guards), guards  # 0 and 1 are cases of their own to torch, of any size
"""


def test_traced_graphs_hold_the_kernels():
    """For any number of atoms, edges and structures; and torch finds out that nothing but the results is written."""
    written = ["vectors", "y", "d", "gg gd", "out", "out", "d_positions d_cells", "out"]
    assert run_python(TRACED).splitlines() == written
