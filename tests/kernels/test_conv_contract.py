"""What callers rely on beyond the numbers: derivatives, memory layouts, repeatability, scripting, export, errors."""

from functools import partial

import pytest
import torch
from torch import Tensor

from equinet_kernels import ConvSpec, EdgeTopology, Layout, UVUConv, edge_topology
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.conv_cases import BOTH, CASES, Inputs, levels, random_inputs

SPEC = CASES["both parities, l = 2"].spec


@pytest.fixture
def conv(implementation) -> UVUConv:
    return UVUConv(SPEC, torch.float64)


@pytest.fixture
def inputs() -> Inputs:
    return random_inputs(SPEC, "a receiver with none")


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(relative_error(a[name], b[name]) for name in b)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.usefixtures("implementation")
def test_derivatives_by_finite_differences(check):
    spec = ConvSpec.all_paths(Layout.parse("2x0e+1x1o"), 1, BOTH[:4])
    topology = edge_topology(torch.tensor([1, 0, 2, 1]), torch.tensor([0, 0, 2, 2]), 3)
    random = torch.Generator().manual_seed(0)
    sizes = ((3, spec.x.dim), (4, spec.y_dim), (4, spec.weight_dim))
    tensors = [torch.randn(size, dtype=torch.float64, generator=random).requires_grad_() for size in sizes]
    assert check(partial(UVUConv(spec, torch.float64), topology=topology), tensors)


def strided(tensor: Tensor) -> Tensor:
    """The same values in every third place of a larger tensor, columns before rows."""
    storage = torch.full((tensor.shape[1] * 3, tensor.shape[0] * 2), float("nan"), dtype=tensor.dtype)
    view = storage.T[::2, ::3]
    return view.copy_(tensor)


def misaligned(tensor: Tensor) -> Tensor:
    """The same values one element behind an aligned address."""
    storage = torch.full((tensor.numel() + 1,), float("nan"), dtype=tensor.dtype)
    return storage[1:].view(tensor.shape).copy_(tensor)


@pytest.mark.parametrize("change", [strided, misaligned])
def test_memory_layout_does_not_matter(conv, inputs, change):
    function = partial(conv, topology=inputs.topology)
    changed = Inputs(*(change(tensor) for tensor in inputs[:3]), inputs.topology)
    assert changed.x.data_ptr() % 16 != 0 or not changed.x.is_contiguous()
    assert worst(levels(function, changed), levels(function, inputs)) <= TOLERANCES[torch.float64]


def test_expanded_inputs(conv, inputs):
    """One row for all edges: values of the full tensors, gradients summed over them."""
    row_y, row_w = inputs.y[:1].requires_grad_(), inputs.w[:1].requires_grad_()
    edges = len(inputs.y)
    y, w = row_y.expand(edges, -1), row_w.expand(edges, -1)
    full_y, full_w = y.detach().clone().requires_grad_(), w.detach().clone().requires_grad_()
    out = conv(inputs.x, y, w, inputs.topology)
    expected = conv(inputs.x, full_y, full_w, inputs.topology)
    assert relative_error(out, expected) <= TOLERANCES[torch.float64]
    gradients = torch.autograd.grad(out.square().sum(), (row_y, row_w))
    full = torch.autograd.grad(expected.square().sum(), (full_y, full_w))
    for ours, theirs in zip(gradients, full, strict=True):
        assert relative_error(ours, theirs.sum(dim=0, keepdim=True)) <= TOLERANCES[torch.float64]


def test_inputs_are_not_written(conv, inputs):
    before = [tensor.clone() for tensor in (*inputs[:3], *inputs.topology)]
    levels(partial(conv, topology=inputs.topology), inputs)
    assert all(torch.equal(a, b) for a, b in zip(before, (*inputs[:3], *inputs.topology), strict=True))


@pytest.fixture
def poisoned_memory():
    """Fill uninitialised memory with NaN, so that a value read before it is written shows."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("graph", ["a receiver with none", "thousands"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("implementation")
def test_same_bits_every_time(graph, dtype, poisoned_memory):
    inputs = random_inputs(SPEC, graph).to(dtype)
    function = partial(UVUConv(SPEC, dtype), topology=inputs.topology)
    first = levels(function, inputs)
    assert all(tensor.isfinite().all() for tensor in first.values())
    assert all(same_bits(levels(function, inputs), first) for _ in range(3))


def arranged(order: Tensor, inputs: Inputs) -> Inputs:
    """The inputs with their edges in another order."""
    senders, receivers = inputs.topology.senders[order], inputs.topology.receivers[order]
    topology = edge_topology(senders, receivers, len(inputs.x))
    return Inputs(inputs.x, inputs.y[order], inputs.w[order], topology)


def test_order_in_which_edges_are_found(conv, inputs):
    """Any order within a receiver gives the same numbers; sorting as graphs do gives the same bits."""
    random = torch.Generator().manual_seed(0)
    images = torch.randperm(len(inputs.y), generator=random)  # distinct, so that the order is complete
    shuffle = torch.randperm(len(inputs.y), generator=random)

    def by_key(order: Tensor, *keys: Tensor) -> Tensor:
        for key in keys:  # stable sorts, last key first
            order = order[key[order].sort(stable=True).indices]
        return order

    topology = inputs.topology
    order = by_key(shuffle, topology.receivers)
    assert not torch.equal(order, torch.arange(len(order)))
    case = arranged(order, inputs)
    shuffled = levels(partial(conv, topology=case.topology), case)
    plain = levels(partial(conv, topology=topology), inputs)
    for name in ("out", "d/dx", "d/dy", "d/dw"):  # with one cotangent in both; those of y and w belong to edges
        expected = plain[name][order] if name in ("d/dy", "d/dw") else plain[name]
        assert relative_error(shuffled[name], expected) <= TOLERANCES[torch.float64], name

    keys = (images, topology.senders, topology.receivers)
    once = arranged(by_key(torch.arange(len(images)), *keys), inputs)
    again = arranged(by_key(shuffle, *keys), inputs)
    results = [levels(partial(conv, topology=case.topology), case) for case in (once, again)]
    assert same_bits(*results)


def test_script_equals_eager(conv, inputs):
    scripted = torch.jit.script(conv)
    eager = levels(partial(conv, topology=inputs.topology), inputs)
    for _ in range(3):  # the second and third call run what the profiler made of it
        compiled = levels(partial(scripted, topology=inputs.topology), inputs)
        assert worst(compiled, eager) <= TOLERANCES[torch.float64]


def test_export_with_any_number_of_atoms_and_edges(conv, inputs):
    rows = {0: torch.export.Dim.DYNAMIC}
    shapes = (rows, rows, rows, EdgeTopology(rows, rows, rows, rows, rows))
    program = torch.export.export(conv, tuple(inputs), dynamic_shapes=shapes).module()
    for graph in ("thousands", "one atom", "no edges"):
        other = random_inputs(SPEC, graph, seed=2)
        expected = levels(partial(conv, topology=other.topology), other)
        exported = levels(lambda x, y, w, topology=other.topology: program(x, y, w, topology), other)
        assert worst(exported, expected) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("which", ["x", "y", "w"])
def test_wrong_widths_are_refused(conv, inputs, which):
    wrong = inputs._replace(**{which: getattr(inputs, which)[:, 1:]})
    with pytest.raises(RuntimeError, match=r"uvu_conv wants x \[N, 65\], y \[E, 9\], w"):
        conv(*wrong)


@pytest.mark.parametrize("which", ["y", "w"])
def test_wrong_numbers_of_edges_are_refused(conv, inputs, which):
    wrong = inputs._replace(**{which: getattr(inputs, which)[1:]})
    with pytest.raises((RuntimeError, ValueError)):
        conv(*wrong)


def test_nothing_is_stored_with_a_model(conv):
    assert list(conv.parameters()) == []
    assert conv.state_dict() == {}
