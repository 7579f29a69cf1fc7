"""Low-rank updates: nothing at first, equivariant whatever they hold, few, and gone once merged."""

import copy

import pytest
import torch
from torch import nn

from equinet.errors import DataWarning
from equinet.graph import collate
from equinet.models import Potential, load_model, merged, save_model
from equinet.models.compilation import drawn_structures
from equinet.nn import EquivariantLinear, SpeciesLinear, add_low_rank_updates, is_adapted, merge_low_rank_updates
from equinet.training.ema import ExponentialAverage
from equinet_kernels import Layout
from tests.models.conftest import POTENTIALS
from tests.nn.rotations import random_rotation, turned

IN, OUT = Layout.parse("6x0e+4x0o+5x1o+3x1e+2x2e"), Layout.parse("7x0e+4x1o+3x2e+2x3o")


def fill(module: nn.Module) -> None:
    """Give every update something to add."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if ".b." in name:
                weight.normal_()


def graph_of(potential: Potential):
    return collate(drawn_structures(potential.species, potential.cutoff, seed=1))


@pytest.fixture
def adapted(double: Potential) -> Potential:
    add_low_rank_updates(double, rank=2, alpha=3.0)
    fill(double)
    return double


@pytest.fixture(params=["nequip-natural-3-layers", "nequip-l3-readout", "nequip-so3"])
def double(request) -> Potential:
    return POTENTIALS[request.param](torch.float64)


def test_at_the_start_it_is_the_parent_to_the_bit(double):
    graph = graph_of(double)
    before = double(graph)
    assert add_low_rank_updates(double, rank=3) > 5
    after = double(graph)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True) if not one.isnan().any())
    fill(double)
    assert (double(graph).forces - before.forces).abs().max() > 1e-2


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("determinant", [1, -1])
def test_updated_maps_are_equivariant(seed, determinant):
    rotation = random_rotation(seed, determinant)
    x = torch.randn(5, IN.dim, dtype=torch.float64)
    species = torch.tensor([0, 2, 1, 1, 0])
    for linear, rest in (
        (EquivariantLinear(IN, OUT, torch.float64, bias=True), ()),
        (SpeciesLinear(3, IN, OUT, torch.float64), (species,)),
    ):
        before = linear(x, *rest)
        add_low_rank_updates(linear, rank=2)
        fill(linear)
        after = linear(x, *rest)
        assert (after - before).abs().max() > 0.1
        assert (linear(turned(x, IN, rotation), *rest) - turned(after, OUT, rotation)).abs().max() < 1e-12


def test_the_update_has_its_rank_and_scale_in_each_block():
    linear = EquivariantLinear(IN, OUT, torch.float64)
    original = [weight.detach().clone() for weight in linear.weights]
    add_low_rank_updates(linear, rank=3, alpha=6.0)
    fill(linear)
    updates = [new - old for new, old in zip(linear.weights, original, strict=True)]
    # 6 -> 7, 5 -> 4, 2 -> 3 channels; nothing of the input reaches 3o
    assert [int(torch.linalg.matrix_rank(update)) if update.numel() else 0 for update in updates] == [3, 3, 2, 0]
    expected = 6.0 / 3 * linear.weights.a[0] @ linear.weights.b[0]
    assert torch.equal(updates[0], (original[0] + expected) - original[0])
    trained = sum(weight.numel() for weight in linear.parameters() if weight.requires_grad)
    assert trained == 3 * (6 + 7) + 3 * (5 + 4) + 2 * (2 + 3)


def test_a_rank_above_all_channels_is_that_of_the_widest_map():
    linear = EquivariantLinear(IN, OUT, torch.float64)
    original = [weight.detach().clone() for weight in linear.weights]
    with pytest.warns(DataWarning, match="a rank of 1000 is more than the linear maps have: 6 is used"):
        add_low_rank_updates(linear, rank=1000, alpha=12.0)
    fill(linear)
    expected = 12.0 / 6 * linear.weights.a[0] @ linear.weights.b[0]
    assert torch.equal(next(iter(linear.weights)), original[0] + expected)


def test_merged_it_is_an_ordinary_potential(adapted, tmp_path):
    graph = graph_of(adapted)
    expected = adapted(graph)
    plain = merged(adapted)
    assert is_adapted(adapted)
    assert not is_adapted(plain)
    assert (plain(graph).forces - expected.forces).abs().max() < 1e-12
    assert torch.equal(adapted(graph).forces, expected.forces)  # the copy took nothing from it
    assert all(weight.requires_grad for name, weight in plain.named_parameters() if "weights" in name)
    scripted = torch.jit.script(plain)
    assert (scripted(graph).forces - expected.forces).abs().max() < 1e-12
    # a model file never holds updates
    save_model(adapted, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert (loaded(graph).forces - expected.forces).abs().max() < 1e-12
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in plain.named_parameters()}


def test_gradients_of_forces_reach_every_update_and_no_matrix(adapted):
    adapted.train()
    prediction = adapted(graph_of(adapted))
    (prediction.forces.square().sum() + prediction.energy.sum()).backward()
    for name, weight in adapted.named_parameters():
        if ".matrices." in name:
            assert weight.grad is None, name
        elif ".a." in name or ".b." in name:
            assert weight.numel() == 0 or weight.grad.abs().max() > 0, name


def test_the_gradient_of_an_update_is_that_of_its_matrix(double):
    """d/dA = G B^T and d/dB = A^T G, with G the gradient of the merged matrix: also where forces are trained on."""
    add_low_rank_updates(double, rank=2)
    fill(double)
    plain = merged(double)
    graph = graph_of(double)
    for potential in (double, plain):
        potential.train()(graph).forces.square().sum().backward()
    updates, matrices = double.model.layers[1].linear_in.weights, plain.model.layers[1].linear_in.weights
    for a, b, matrix in zip(updates.a, updates.b, matrices, strict=True):
        assert torch.allclose(a.grad, matrix.grad @ b.T, rtol=1e-10, atol=1e-12)
        assert torch.allclose(b.grad, a.T @ matrix.grad, rtol=1e-10, atol=1e-12)


def test_a_resumed_training_goes_on_to_the_bit(double):
    """Weights, optimiser and average of an adapted potential, through a file in mid-training."""

    def begin():
        torch.manual_seed(3)
        potential = copy.deepcopy(double).train()
        add_low_rank_updates(potential, rank=2)
        trained = [weight for weight in potential.parameters() if weight.requires_grad]
        return potential, torch.optim.Adam(trained, lr=0.01), ExponentialAverage(potential, 0.9)

    def train(potential, optimizer, average, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            potential(graph).forces.square().mean().backward()
            optimizer.step()
            average.update(potential)

    graph = graph_of(double)
    straight = begin()
    train(*straight, 4)
    first = begin()
    train(*first, 2)
    state = copy.deepcopy([part.state_dict() for part in first])
    second = begin()
    for part, own in zip(second, state, strict=True):
        part.load_state_dict(own)
    train(*second, 2)
    for one, other in zip(straight[::2], second[::2], strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    assert (merged(straight[2].model.eval())(graph).forces - double(graph).forces).abs().max() > 1e-3


def test_frozen_maps_are_left_alone_and_mistakes_refused(double):
    for weight in double.model.layers[0].parameters():
        weight.requires_grad_(False)
    add_low_rank_updates(double, rank=2)
    assert not is_adapted(double.model.layers[0])
    assert is_adapted(double.model.layers[1])
    with pytest.raises(ValueError, match="already"):
        add_low_rank_updates(double, rank=2)
    merge_low_rank_updates(double)
    with pytest.raises(ValueError, match="at least 1"):
        add_low_rank_updates(double, rank=0)
