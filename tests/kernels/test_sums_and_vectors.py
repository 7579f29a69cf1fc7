"""Segment sums and edge vectors against loops: every implementation."""

import sys
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import Tensor

from equinet_kernels import (
    EdgeTopology,
    EdgeVectors,
    SegmentGather,
    SegmentSum,
    dispatch,
    edge_topology,
    edge_vectors,
    index_sum,
    observe,
    row_pointers,
    script,
    segment_gather,
    segment_sum,
    use,
)
from equinet_kernels.geometry import edge_vectors_reference
from equinet_kernels.segment import segment_gather_reference, segment_sum_reference
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.derivatives import all_levels, normal

every_implementation = pytest.mark.usefixtures("implementation")
SEGMENTS = [[0, 0, 2, 2, 2, 4], [1, 1, 1, 3], [1], [4], []]


def pointers(segments: list[int], number: int = 5) -> Tensor:
    return row_pointers(torch.tensor(segments, dtype=torch.int64), number)


@every_implementation
@pytest.mark.parametrize("trailing", [(), (3,), (2, 5), (40,)])
@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
def test_segment_sum_by_a_loop(segments, trailing):
    values = normal(len(segments), *trailing)
    expected = torch.zeros(5, *trailing, dtype=torch.float64)
    for row, segment in zip(values, segments, strict=True):
        expected[segment] += row
    out = segment_sum(values, pointers(segments))
    assert out.dtype == torch.float64
    assert torch.equal(out, expected)  # the order of the rows, so the same bits


@every_implementation
@pytest.mark.parametrize("trailing", [(), (3,), (2, 5), (40,)])
@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
def test_segment_gather_by_a_loop(segments, trailing):
    values = normal(5, *trailing)
    expected = torch.stack([values[segment] for segment in segments]) if segments else values[:0]
    assert torch.equal(segment_gather(values, pointers(segments), len(segments)), expected)


@pytest.mark.parametrize("index", [[3, 0, 3, 1], [0, 0, 2], []], ids=str)
def test_index_sum_takes_any_order(index):
    values = normal(len(index), 2)
    expected = torch.zeros(5, 2, dtype=torch.float64)
    for row, segment in zip(values, index, strict=True):
        expected[segment] += row
    assert torch.equal(index_sum(values, torch.tensor(index, dtype=torch.int64), 5), expected)


@every_implementation
def test_segment_sum_of_thousands_repeats():
    values = normal(20000, 7).float()
    segments = torch.randint(0, 3, (20000,), generator=torch.Generator().manual_seed(0)).sort().values
    row_ptr = row_pointers(segments, 4)
    first = segment_sum(values, row_ptr)
    assert first.dtype == torch.float32
    assert all(torch.equal(segment_sum(values, row_ptr), first) for _ in range(5))
    exact = torch.stack([values.double()[segments == s].sum(dim=0) for s in range(4)])
    assert relative_error(first, exact) <= TOLERANCES[torch.float32]


@every_implementation
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_of_sums_and_gathers(check):
    row_ptr = pointers([0, 0, 2, 2], 3)
    assert check(lambda values: segment_sum(values, row_ptr), (normal(4, 2).requires_grad_(),))
    assert check(lambda values: segment_gather(values, row_ptr, 4), (normal(3, 2).requires_grad_(),))


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_all_levels_of_sums_and_gathers_equal_the_reference(dtype):
    row_ptr = pointers([0, 0, 1, 1, 1, 4, 4])
    cases = [(segment_sum, normal(7, 3, 11)), (partial(segment_gather, rows=7), normal(5, 3, 11))]
    for operator, values in cases:
        for layout in (values, values.transpose(1, 2), values[:, :1].expand_as(values)):
            ours = all_levels(lambda v, o=operator: o(v, row_ptr), layout.to(dtype))
            with use("reference"):
                reference = all_levels(lambda v, o=operator: o(v, row_ptr), layout.to(dtype).double())
            for name, expected in reference.items():
                assert relative_error(ours[name], expected) <= TOLERANCES[dtype], name


@every_implementation
def test_no_columns():
    assert segment_sum(normal(4, 0), pointers([0, 0, 2, 2], 3)).shape == (3, 0)
    assert segment_gather(normal(3, 0), pointers([0, 0, 2, 2], 3), 4).shape == (4, 0)


SUMS = [("segment_sum", segment_sum, normal(7, 3)), ("segment_gather", partial(segment_gather, rows=7), normal(5, 3))]
MISSING = "torch-scatter is not installed: pip install 'equinet-mlip[scatter]'"


def assert_torch_scatter_equals_the_reference() -> None:
    row_ptr = pointers([0, 0, 1, 1, 1, 4, 4])
    for name, operator, values in SUMS:
        with use("torch_scatter"), observe() as ran:
            ours = all_levels(lambda v, o=operator: o(v, row_ptr), values)
        assert {implementation for _, implementation in ran} == {"torch_scatter"}
        assert ran.total() == 3, name
        with use("reference"):
            reference = all_levels(lambda v, o=operator: o(v, row_ptr), values)
        for level, expected in reference.items():
            assert relative_error(ours[level], expected) <= TOLERANCES[torch.float64], level


@pytest.mark.skipif(not find_spec("torch_scatter"), reason=MISSING)
def test_torch_scatter_equals_the_reference():
    """To second order, for which torch-scatter's own derivatives do not do: they would silently be zero."""
    assert_torch_scatter_equals_the_reference()


@pytest.fixture
def stand_in(monkeypatch):
    """A module in torch-scatter's place, with its two functions that we call."""
    module = ModuleType("torch_scatter")
    module.__spec__ = ModuleSpec("torch_scatter", None)
    module.segment_csr = lambda src, indptr, reduce: segment_sum_reference(src.detach(), indptr)
    module.gather_csr = lambda src, indptr, out: segment_gather_reference(src.detach(), indptr, len(out))
    monkeypatch.setitem(sys.modules, "torch_scatter", module)


@pytest.mark.usefixtures("stand_in")
def test_torch_scatter_runs_where_it_is_asked_for_and_nowhere_else():
    row_ptr = pointers([0, 0, 1, 1, 1, 4, 4])
    for name, operator, values in SUMS:
        with use("torch_scatter"), observe() as ran:
            ours = operator(values, row_ptr)
            vectors_of(normal(5, 3), normal(2, 3, 3))
        assert ran == {(name, "torch_scatter"): 1, ("edge_vectors", "cpu"): 1}
        with use("reference"):
            assert torch.equal(ours, operator(values, row_ptr))
    assert_torch_scatter_equals_the_reference()
    with use("torch_scatter"), pytest.raises(ValueError, match=r"row_ptr is torch.int32; it must be int64"):
        segment_sum(normal(4), torch.tensor([0, 4], dtype=torch.int32))


def test_torch_scatter_is_missed_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_scatter", None)
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    with (
        use("torch_scatter"),
        pytest.raises(RuntimeError, match=r"not installed \(pip install 'equinet-mlip\[scatter\]'"),
    ):
        segment_sum(normal(4), torch.tensor([0, 1, 4]))


BATCH = torch.tensor([0, 0, 0, 1, 1])
SENDERS = torch.tensor([1, 0, 2, 0, 4, 3, 4])
RECEIVERS = torch.tensor([0, 0, 1, 2, 3, 4, 4])
IMAGES = torch.tensor([[0, 0, 0], [1, 0, -2], [0, 3, 1], [0, 0, 0], [-1, 2, 0], [0, 0, 5], [1, 1, 1]])
TOPOLOGY = edge_topology(SENDERS, RECEIVERS, 5)
vectors_of = partial(edge_vectors, batch=BATCH, images=IMAGES, topology=TOPOLOGY)
NONE = torch.zeros(0, dtype=torch.int64)


@every_implementation
def test_edge_vectors_by_a_loop():
    positions, cell = normal(5, 3), normal(2, 3, 3, seed=1)
    out = vectors_of(positions, cell)
    for e, (s, r, image) in enumerate(zip(SENDERS.tolist(), RECEIVERS.tolist(), IMAGES.tolist(), strict=True)):
        translation = sum(n * row for n, row in zip(image, cell[BATCH[r]], strict=True))
        assert (out[e] - (positions[s] + translation - positions[r])).abs().max() < 1e-14


@every_implementation
def test_no_edge_vectors():
    def vectors(positions: Tensor, cell: Tensor) -> Tensor:
        return edge_vectors(positions, cell, BATCH, NONE.view(0, 3), edge_topology(NONE, NONE, 5))

    levels = all_levels(vectors, normal(5, 3), normal(2, 3, 3))
    assert levels["result"].shape == (0, 3)
    assert levels["d0"].abs().max() == levels["d1"].abs().max() == 0.0


@every_implementation
def test_no_atoms():
    out = edge_vectors(normal(0, 3), normal(0, 3, 3), NONE, NONE.view(0, 3), edge_topology(NONE, NONE, 0))
    assert out.shape == (0, 3)


@every_implementation
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_of_edge_vectors(check):
    assert check(vectors_of, (normal(5, 3).requires_grad_(), normal(2, 3, 3, seed=1).requires_grad_()))


def random_graph(atoms: int, edges: int, structures: int) -> tuple[Tensor, Tensor, EdgeTopology]:
    """Batch, images and topology; some atoms send or receive nothing."""
    random = torch.Generator().manual_seed(atoms)
    batch = torch.randint(0, structures, (atoms,), generator=random).sort().values
    senders = torch.randint(0, atoms, (edges,), generator=random)
    receivers = torch.randint(0, atoms, (edges,), generator=random).sort().values
    return batch, torch.randint(-2, 3, (edges, 3), generator=random), edge_topology(senders, receivers, atoms)


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("atoms", "edges", "structures"), [(1, 1, 1), (9, 40, 3), (300, 5000, 4)])
def test_all_levels_of_edge_vectors_equal_the_reference(atoms, edges, structures, dtype):
    batch, images, topology = random_graph(atoms, edges, structures)
    positions, cell = normal(3, atoms).to(dtype).T, normal(1, 3, 3, seed=1).to(dtype).expand(structures, 3, 3)
    ours = all_levels(partial(edge_vectors, batch=batch, images=images, topology=topology), positions, cell)
    reference = all_levels(
        lambda p, c: edge_vectors_reference(p, c, batch, images, topology.senders, topology.receivers),
        positions.double(),
        cell.double(),
    )
    for name, expected in reference.items():
        assert relative_error(ours[name], expected) <= TOLERANCES[dtype], name


@every_implementation
def test_sums_and_vectors_in_a_script_and_an_export():
    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.edge_vectors, self.sum, self.gather = EdgeVectors(), SegmentSum(), SegmentGather()

        def forward(
            self, positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology
        ) -> Tensor:
            vectors = self.edge_vectors(positions, cell, batch, images, topology)
            sums = self.sum(vectors, topology.row_ptr)
            return self.gather(sums, topology.row_ptr, vectors.shape[0])

    inputs = normal(5, 3), normal(2, 3, 3), BATCH, IMAGES, TOPOLOGY
    expected = Both()(*inputs)
    for library in (False, True):
        scripted = script(Both(), library)
        assert ("equinet::" in str(scripted.inlined_graph)) == library
        for _ in range(3):
            assert relative_error(scripted(*inputs), expected) <= TOLERANCES[torch.float64]
    rows = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(
        Both(), inputs, dynamic_shapes=(rows, rows, rows, rows, EdgeTopology(*[rows] * 5))
    ).module()
    assert relative_error(program(*inputs), expected) <= TOLERANCES[torch.float64]
    batch, images, topology = random_graph(9, 40, 3)
    others = normal(9, 3), normal(3, 3, 3), batch, images, topology
    assert relative_error(program(*others), Both()(*others)) <= TOLERANCES[torch.float64]
