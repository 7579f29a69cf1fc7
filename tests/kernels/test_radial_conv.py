"""The convolutions by blocks of receivers give the numbers of the plain one, and hold no row for every edge."""

from functools import partial

import pytest
import torch
from torch import Tensor

from equinet_kernels import (
    ConvSpec,
    EdgeTopology,
    Layout,
    RadialConv,
    TabulatedConv,
    UVUConv,
    edge_topology,
    observe,
    radial_conv,
    use,
)
from equinet_kernels.radial_conv.blocks import receiver_blocks
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.conv_cases import CASES, random_inputs

SPEC = CASES["channels differ, l = 3"].spec
HIDDEN = 6


@pytest.fixture
def small_blocks(monkeypatch):
    """Of about seven edges, so that a small graph has several."""
    monkeypatch.setattr(radial_conv.blocks, "EDGES", 7)


def normal(*size: int, seed: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def all_levels(function, tensors: list[Tensor]) -> list[Tensor]:
    """Result, gradients by all tensors, and the gradients of those with fixed random cotangents."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*tensors)
    g = normal(*out.shape, seed=9).to(out.dtype).requires_grad_()
    first = torch.autograd.grad(out, tensors, g, create_graph=True)
    cotangents = [normal(*tensor.shape, seed=10 + n).to(tensor.dtype) for n, tensor in enumerate(first)]
    second = torch.autograd.grad(first, [*tensors, g], cotangents)
    return [tensor.detach() for tensor in (out, *first, *second)]


@pytest.mark.parametrize("graph", ["a receiver with none", "one atom", "no edges", "thousands"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.usefixtures("small_blocks")
def test_hidden_vectors_give_the_numbers_of_their_product(graph, dtype):
    inputs = random_inputs(SPEC, graph)
    tensors = [inputs.x, inputs.y, normal(len(inputs.y), HIDDEN, seed=2), normal(HIDDEN, SPEC.weight_dim, seed=3)]
    with use("reference"):
        conv = UVUConv(SPEC, torch.float64)
        expected = all_levels(lambda x, y, h, weight: conv(x, y, h @ weight, inputs.topology), tensors)
    with use("cpu"), observe() as ran:
        radial = partial(RadialConv(SPEC, dtype), topology=inputs.topology)
        found = all_levels(radial, [tensor.to(dtype) for tensor in tensors])
    levels = ("radial_uvu_conv", "radial_uvu_conv_backward", "radial_uvu_conv_double_backward")
    assert ran == {(level, "cpu"): 1 for level in levels}
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) <= TOLERANCES[dtype]


@pytest.mark.usefixtures("small_blocks")
def test_derivatives_as_training_on_forces_takes_them():
    """No cotangent for the gradient of the weights: the forces do not depend on it."""
    inputs = random_inputs(SPEC, "a receiver with none")
    h, weight = normal(len(inputs.y), HIDDEN, seed=2), normal(HIDDEN, SPEC.weight_dim, seed=3)

    def loss_gradients(function) -> list[Tensor]:
        tensors = [t.detach().requires_grad_() for t in (inputs.x, inputs.y, h, weight)]
        energy = function(*tensors).square().sum()
        forces = torch.autograd.grad(energy, tensors[1:3], create_graph=True)
        return list(torch.autograd.grad(sum(f.square().sum() for f in forces), tensors))

    conv = UVUConv(SPEC, torch.float64)
    expected = loss_gradients(lambda x, y, h, weight: conv(x, y, h @ weight, inputs.topology))
    found = loss_gradients(partial(RadialConv(SPEC, torch.float64), topology=inputs.topology))
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.usefixtures("small_blocks")
def test_derivatives_by_finite_differences(check):
    spec = ConvSpec.all_paths(Layout.parse("2x0e+1x1o"), 1, [(0, 1), (1, -1)])
    topology = edge_topology(torch.tensor([1, 0, 2, 1]), torch.tensor([0, 0, 2, 2]), 3)
    tensors = [
        normal(*size, seed=n).requires_grad_()
        for n, size in enumerate([(3, spec.x.dim), (4, spec.y_dim), (4, 3), (3, spec.weight_dim)])
    ]
    assert check(partial(RadialConv(spec, torch.float64), topology=topology), tensors)


def ring(nodes: int, degree: int) -> tuple[Tensor, EdgeTopology]:
    """Edge vectors of random directions, from a ring on which each node hears of its neighbours."""
    receivers = torch.arange(nodes).repeat_interleave(degree)
    senders = (receivers + torch.arange(1, degree + 1).repeat(nodes)) % nodes
    return normal(nodes * degree, 3, seed=4), edge_topology(senders, receivers, nodes)


TABLE = normal(12, 6, SPEC.weight_dim, seed=5)
SPACING = 0.3


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.usefixtures("small_blocks")
def test_tables_give_the_numbers_of_the_composition(dtype):
    vectors, topology = ring(6, 5)
    x, g = normal(6, SPEC.x.dim, seed=6), normal(6, SPEC.out.dim, seed=7)

    def run(dtype: torch.dtype) -> list[Tensor]:
        conv = TabulatedConv(SPEC, dtype)
        tensors = [x.to(dtype).requires_grad_(), vectors.detach().requires_grad_()]
        out = conv(*tensors, TABLE.to(dtype), SPACING, topology)
        return [out.detach(), *torch.autograd.grad(out, tensors, g.to(dtype))]

    with use("reference"):
        expected = run(torch.float64)
    with use("cpu"), observe() as ran:
        found = run(dtype)
    assert ran == {("tabulated_uvu_conv", "cpu"): 1, ("tabulated_uvu_conv_backward", "cpu"): 1}
    assert found[2].dtype == torch.float64
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) <= TOLERANCES[dtype]


@pytest.mark.usefixtures("small_blocks")
def test_second_derivatives_of_tables():
    vectors, topology = ring(4, 3)
    conv = TabulatedConv(SPEC, torch.float64)

    def second_derivatives() -> tuple[Tensor, ...]:
        leaves = normal(4, SPEC.x.dim, seed=6).requires_grad_(), vectors.detach().requires_grad_()
        out = conv(*leaves, TABLE, SPACING, topology).square().sum()
        first = torch.autograd.grad(out, leaves, create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in first), leaves)

    with use("reference"):
        expected = second_derivatives()
    for ours, theirs in zip(second_derivatives(), expected, strict=True):
        assert relative_error(ours, theirs) < 1e-12


@pytest.mark.parametrize("edges", [1, 3, 7, 100])
def test_blocks_take_every_receiver_once_whatever_the_graph(monkeypatch, edges):
    monkeypatch.setattr(radial_conv.blocks, "EDGES", edges)
    counts = torch.tensor([0, 0, 5, 1, 0, 9, 2, 0, 0])
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    blocks = list(receiver_blocks(row_ptr))
    nodes = [node for block in blocks for node in range(*block.receivers)]
    assert nodes == list(range(len(counts)))
    assert [e for block in blocks for e in range(block.edges.start, block.edges.stop)] == list(range(17))
    for block in blocks:  # no more than a block's edges, but for the last receiver's
        assert row_ptr[block.receivers.last - 1] - block.edges.start < edges


def test_what_does_not_fit_is_refused():
    inputs = random_inputs(SPEC, "one atom")
    h, weight = normal(6, HIDDEN, seed=2), normal(HIDDEN, SPEC.weight_dim, seed=3)
    conv = RadialConv(SPEC, torch.float64)
    with pytest.raises(ValueError, match=r"h must be \[6, H\] and weight \[H, "):
        conv(inputs.x, inputs.y, h[1:], weight, inputs.topology)
    with pytest.raises(ValueError, match=r"h must be \[6, H\] and weight \[H, "):
        conv(inputs.x, inputs.y, h, weight[:, 1:], inputs.topology)
    with pytest.raises(ValueError, match=r"weight is torch.float32"):
        conv(inputs.x, inputs.y, h, weight.float(), inputs.topology)
    tabulated = TabulatedConv(SPEC, torch.float64)
    with pytest.raises(ValueError, match=r"vectors must be float64 \[6, 3\]"):
        tabulated(inputs.x, normal(6, 3, seed=0).float(), TABLE, SPACING, inputs.topology)
    with pytest.raises(ValueError, match=r"the table must be torch.float64 \[K, 6, "):
        tabulated(inputs.x, normal(6, 3, seed=0), TABLE[:, :, 1:], SPACING, inputs.topology)
