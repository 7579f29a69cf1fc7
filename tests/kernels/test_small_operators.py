"""What only the compiled harmonics, edge vectors and segment sums have: threads, checks, torch's own demands."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from equinet_kernels import (
    EdgeTopology,
    SphericalHarmonics,
    edge_topology,
    edge_vectors,
    native,
    observe,
    segment_gather,
    segment_sum,
    use,
)
from equinet_kernels.native import variants
from tests.kernels.derivatives import all_levels, normal
from tests.kernels.fresh_process import run_python

OPERATORS = torch.ops.equinet


@pytest.fixture(autouse=True)
def _compiled():
    assert native.LIBRARY is not None, native.REASON
    with use("cpu", strict=True):
        yield


ATOMS, EDGES, STRUCTURES = 300, 9000, 3
"""More than one task for a thread in every operator."""


def graph(atoms: int = ATOMS, edges: int = EDGES, structures: int = STRUCTURES) -> tuple[Tensor, Tensor, EdgeTopology]:
    """Batch, images and topology."""
    random = torch.Generator().manual_seed(3)
    batch = torch.randint(0, structures, (atoms,), generator=random).sort().values
    senders = torch.randint(0, atoms, (edges,), generator=random)
    receivers = torch.randint(0, atoms, (edges,), generator=random).sort().values
    return batch, torch.randint(-2, 3, (edges, 3), generator=random), edge_topology(senders, receivers, atoms)


def calls(atoms: int = ATOMS, edges: int = EDGES) -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """Every operator with its differentiable inputs, in float64."""
    batch, images, topology = graph(atoms, edges)
    row_ptr = topology.row_ptr
    return {
        "spherical_harmonics": (SphericalHarmonics(4), [normal(edges, 3)]),
        "edge_vectors": (
            partial(edge_vectors, batch=batch, images=images, topology=topology),
            [normal(atoms, 3), normal(STRUCTURES, 3, 3)],
        ),
        "segment_sum": (partial(segment_sum, row_ptr=row_ptr), [normal(edges, 13)]),
        "segment_gather": (partial(segment_gather, row_ptr=row_ptr, rows=edges), [normal(atoms, 13)]),
    }


RUNS = {
    "spherical_harmonics": [
        "spherical_harmonics",
        "spherical_harmonics_backward",
        "spherical_harmonics_double_backward",
    ],
    "edge_vectors": ["edge_vectors", "edge_vectors_backward", "edge_vectors"],
    "segment_sum": ["segment_sum", "segment_gather", "segment_sum"],
    "segment_gather": ["segment_gather", "segment_sum", "segment_gather"],
}
"""What runs for a result with its first and second derivatives."""


@pytest.mark.parametrize("name", RUNS)
def test_what_is_named_is_what_runs(name):
    function, inputs = calls(5, 12)[name]
    with observe() as ran:
        all_levels(function, *inputs)
    assert sorted(ran.elements()) == sorted((operator, "cpu") for operator in RUNS[name])
    with use("reference"), observe() as ran:
        all_levels(function, *inputs)
    assert ran == {(name, "reference"): 1}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_same_bits_on_every_run_and_with_any_number_of_threads(name, dtype):
    function, inputs = calls()[name]
    function = SphericalHarmonics(4, dtype) if name == "spherical_harmonics" else function
    results = []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(all_levels(function, *(tensor.to(dtype) for tensor in inputs)))
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(results[0][level], other[level]) for level in other)


def test_numbers_of_edges_that_fill_no_vector():
    """An edge's harmonics are the same bits wherever it stands."""
    for dtype in (torch.float64, torch.float32):
        vectors = normal(70, 3).to(dtype)
        harmonics = partial(all_levels, SphericalHarmonics(3, dtype))
        cotangent = normal(70, 16, seed=4).to(dtype)
        whole = harmonics(vectors, cotangent=cotangent)
        for edges in range(1, 35):
            part = harmonics(vectors[:edges], cotangent=cotangent[:edges])
            assert torch.equal(part["result"], whole["result"][:edges])
            assert torch.equal(part["d0"], whole["d0"][:edges])


def opcheck_arguments() -> dict[str, tuple]:
    batch, images, topology = graph(5, 12)
    vectors, g, dot = normal(12, 3), normal(12, 9), normal(12, 3, seed=5)
    graph_arguments = batch, images, *topology
    return {
        "spherical_harmonics": (vectors.requires_grad_(), 2),
        "spherical_harmonics_backward": (g.requires_grad_(), vectors, 2),
        "spherical_harmonics_double_backward": (dot, g.detach(), vectors.detach(), 2),
        "edge_vectors": (normal(5, 3).requires_grad_(), normal(STRUCTURES, 3, 3).requires_grad_(), *graph_arguments),
        "edge_vectors_backward": (normal(12, 3).requires_grad_(), STRUCTURES, *graph_arguments),
        "segment_sum": (normal(12, 2, 2).requires_grad_(), topology.row_ptr),
        "segment_gather": (normal(5, 2, 2).requires_grad_(), topology.row_ptr, 12),
    }


@pytest.mark.parametrize("name", opcheck_arguments())
def test_torch_accepts_the_operator(name):
    torch.library.opcheck(getattr(OPERATORS, name).default, opcheck_arguments()[name])


def test_compiled_by_torch_equals_eager():
    batch, images, topology = graph(9, 30)
    harmonics = SphericalHarmonics(2)

    def sums(positions: Tensor, cell: Tensor) -> Tensor:
        vectors = edge_vectors(positions, cell, batch, images, topology)
        return segment_sum(harmonics(vectors), topology.row_ptr)

    compiled = torch.compile(sums, fullgraph=True, dynamic=True, backend="aot_eager")
    inputs = normal(9, 3).requires_grad_(), normal(STRUCTURES, 3, 3).requires_grad_()
    eager, ours = sums(*inputs), compiled(*inputs)
    assert torch.equal(ours, eager)
    g = normal(9, 9, seed=6)
    for one, other in zip(torch.autograd.grad(ours, inputs, g), torch.autograd.grad(eager, inputs, g), strict=True):
        assert torch.equal(one, other)


def test_third_derivatives():
    """The harmonics refuse; what is linear has them."""
    vectors = normal(4, 3).requires_grad_()
    y = SphericalHarmonics(3)(vectors)
    (first,) = torch.autograd.grad(y.square().sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), vectors, create_graph=True)
    with pytest.raises(NotImplementedError, match="run the reference"):
        torch.autograd.grad(second.square().sum(), vectors)
    values = normal(4).requires_grad_()
    sums = segment_sum(values, torch.tensor([0, 1, 4]))
    (first,) = torch.autograd.grad(sums.pow(3).sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), values, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), values)
    assert third.tolist() == [6.0, 54.0, 54.0, 54.0]


@pytest.mark.parametrize(
    ("tensors", "l_max", "message"),
    [
        ([normal(4, 2)], 2, r"directions must be \[any, 3\], got \[4, 2\]"),
        ([normal(3)], 2, r"directions must be \[any, 3\], got \[3\]"),
        ([normal(4, 3).bfloat16()], 2, "directions is torch.bfloat16"),
        ([torch.zeros(4, 3, dtype=torch.int64)], 2, "directions is torch.int64"),
        ([normal(4, 3)], 7, r"l_max must be 0\.\.6, got 7"),
        ([normal(4, 8), normal(4, 3)], 2, r"_backward: g must be \[4, 9\], got \[4, 8\]"),
        ([normal(4, 9).float(), normal(4, 3)], 2, "_backward: g is torch.float32"),
        ([normal(3, 3), normal(4, 9), normal(4, 3)], 2, r"_double_backward: d_dot must be \[4, 3\], got \[3, 3\]"),
    ],
)
def test_what_harmonics_refuse(tensors, l_max, message):
    name = "spherical_harmonics" + ["", "_backward", "_double_backward"][len(tensors) - 1]
    with pytest.raises(ValueError, match=message):
        getattr(OPERATORS, name)(*tensors, l_max)


@pytest.mark.parametrize(
    ("values", "row_ptr", "message"),
    [
        (normal(4, 2), torch.tensor([0, 4], dtype=torch.int32), "row_ptr is torch.int32; it must be int64"),
        (normal(4, 2), torch.tensor([[0, 4]]), r"row_ptr must be \[any\], got \[1, 2\]"),
        (normal(4, 2), torch.tensor([], dtype=torch.int64), "row_ptr must hold one number more"),
        (normal(4, 2), torch.tensor([0, 3]), "row_ptr must run from 0 to the number of rows, 4; it runs from 0 to 3"),
        (normal(4, 2), torch.tensor([1, 4]), "row_ptr must run from 0 to the number of rows, 4; it runs from 1 to 4"),
        (normal(4, 2), torch.tensor([0, 3, 2, 4]), "row_ptr falls after its entry 1"),
        (normal(4, 2), torch.tensor([0, 2**40, 4]), "row_ptr falls after its entry 1"),
        (normal(4, 2).half(), torch.tensor([0, 4]), "values is torch.float16"),
        (normal(), torch.tensor([0, 0]), "values must be rows"),
    ],
)
def test_what_segment_sums_refuse(values, row_ptr, message):
    with pytest.raises(ValueError, match=message):
        segment_sum(values, row_ptr)


def test_what_gathers_refuse():
    with pytest.raises(ValueError, match="3 rows of values for 2 segments"):
        segment_gather(normal(3), torch.tensor([0, 1, 4]), 4)
    with pytest.raises(ValueError, match="row_ptr must run from 0 to the number of rows, 5"):
        segment_gather(normal(2), torch.tensor([0, 1, 4]), 5)


def changed(index: Tensor, position: int, value: int) -> Tensor:
    index = index.clone()
    index[position] = value
    return index


BATCH, IMAGES, TOPOLOGY = graph(6, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": normal(6, 3).float()}, "cell is torch.float64; numbers must be all float32 or all float64"),
        ({"positions": normal(5, 3)}, r"positions must be \[6, 3\], got \[5, 3\]"),
        ({"cell": normal(3, 3)}, r"cell must be \[any, 3, 3\], got \[3, 3\]"),
        ({"images": IMAGES.int()}, "images is torch.int32; it must be int64"),
        ({"images": IMAGES[:29]}, r"senders must be \[29\], got \[30\]"),
        ({"batch": BATCH[:5]}, r"row_ptr must be \[6\], got \[7\]"),
        ({"batch": changed(BATCH, 5, 3)}, r"batch must ascend within 0\.\.2, but node 5 is of structure 3"),
        ({"batch": changed(BATCH, 0, 2)}, r"batch must ascend within 0\.\.2, but node 1 is of structure 0"),
        ({"senders": changed(TOPOLOGY.senders, 7, 6)}, "edge 7 runs from node 6 to node .* but there are 6 nodes"),
        ({"receivers": changed(TOPOLOGY.receivers, 0, 5)}, "edge 0 is not among the edges .* sorted by receiver"),
        ({"row_ptr": changed(TOPOLOGY.row_ptr, 6, 29)}, "row_ptr must run from 0 to the number of edges, 30"),
    ],
)
def test_what_edge_vectors_refuse(arguments, message):
    good = {"positions": normal(6, 3), "cell": normal(3, 3, 3), "batch": BATCH, "images": IMAGES, **TOPOLOGY._asdict()}
    with pytest.raises(ValueError, match=message):
        OPERATORS.edge_vectors(**(good | arguments))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (TOPOLOGY._replace(sender_perm=TOPOLOGY.sender_perm.flip(0)), "not the order of the edges by sender"),
        (TOPOLOGY._replace(sender_perm=changed(TOPOLOGY.sender_perm, 3, 2**40)), "they give edge 1099511627776"),
        (TOPOLOGY._replace(sender_ptr=changed(TOPOLOGY.sender_ptr, 6, 31)), "sender_ptr must run from 0 to .* 30"),
        (TOPOLOGY._replace(sender_ptr=changed(TOPOLOGY.sender_ptr, 3, 0)), "sender_ptr falls after its entry 2"),
    ],
)
def test_what_gradients_of_edge_vectors_refuse(broken, message):
    positions = normal(6, 3).requires_grad_()
    vectors = edge_vectors(positions, normal(3, 3, 3), BATCH, IMAGES, broken)
    with pytest.raises(ValueError, match=message):
        vectors.sum().backward()
    with use(debug=True), pytest.raises(ValueError, match="sender_"):
        edge_vectors(positions, normal(3, 3, 3), BATCH, IMAGES, broken)


def test_debugging_checks_what_other_devices_rely_on():
    with use(debug=True):
        with pytest.raises(ValueError, match="row_ptr must ascend from 0 to 4"):
            segment_sum(normal(4), torch.tensor([0, 3, 2, 4]))
        with pytest.raises(ValueError, match=r"edge_vectors: batch must ascend within 0\.\.2"):
            edge_vectors(normal(6, 3), normal(3, 3, 3), changed(BATCH, 0, 2), IMAGES, TOPOLOGY)
        assert segment_sum(normal(4), torch.tensor([0, 3, 4])).shape == (2,)
        assert edge_vectors(normal(6, 3), normal(3, 3, 3), BATCH, IMAGES, TOPOLOGY).shape == (30, 3)


NUMBERS = """
import torch
from equinet_kernels import native, use
from equinet_kernels.tolerances import TOLERANCES, relative_error
from equinet_kernels import SphericalHarmonics
from tests.kernels.derivatives import all_levels
from tests.kernels.test_small_operators import calls

for name, (function, inputs) in calls(20, 301).items():
    with use("reference"):
        slow = all_levels(function, *inputs)
    for dtype in (torch.float64, torch.float32):
        if name == "spherical_harmonics":
            function = SphericalHarmonics(4, dtype)
        with use("cpu"):
            fast = all_levels(function, *(tensor.to(dtype) for tensor in inputs))
        for level, exact in slow.items():
            assert relative_error(fast[level], exact) <= TOLERANCES[dtype], (name, level, dtype)
print(native.VARIANT)
"""


@pytest.mark.parametrize("variant", variants())
def test_every_instruction_set_of_this_processor(variant):
    assert run_python(NUMBERS, EQUINET_CPU_VARIANT=variant).strip() == variant
