"""What fine-tuning does to a potential: references shifted, one more level of theory, parts frozen or slowed."""

import pytest
import torch

from equinet.errors import InputError
from equinet.graph import collate
from equinet.models import (
    NequIPArchitecture,
    Potential,
    add_modal,
    freeze,
    layer_groups,
    one_modal,
    parameter_groups,
    with_shifted_references,
)
from equinet.models.compilation import compile_potential, drawn_structures
from equinet.nn import add_low_rank_updates
from tests.models.conftest import nequip
from tests.models.test_modals import make as make_with_modals

SETTINGS = {
    "plain": {},
    "biases": {"biases": True, "readout_hidden": [5]},
    "as imported": {"parity": "none", "species_self_connection": False, "envelope": "xplor", "xplor_onset": 3.2},
}


@pytest.fixture(params=SETTINGS)
def parent(request) -> Potential:
    options = {"subtract_isolated": False} if request.param == "as imported" else None
    potential = nequip(torch.float64, options, bessel_trainable=True, **SETTINGS[request.param])
    with torch.no_grad():
        for name, weight in potential.named_parameters():
            if "bias" in name:
                weight.normal_()
    return potential


def graphs_of(potential: Potential):
    return drawn_structures(potential.species, potential.cutoff, seed=1)


def train(potential: Potential, graph, modal=None, steps=3, weight_decay=0.0, **options) -> None:
    """A few steps towards forces that are all zero."""
    groups = parameter_groups(potential, 0.01, **({"lr_factors": {}} | options))
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay)
    potential.train()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        prediction = potential(graph, modal)
        (prediction.forces.square().mean() + 0.01 * prediction.energy.square().mean()).backward()
        optimizer.step()
    potential.eval()


def test_shifted_references_shift_energies_alone(parent):
    graph = collate(graphs_of(parent))
    before = parent(graph)
    shifted = with_shifted_references(parent, {8: 1.5, 14: -2.0})
    after = shifted(graph)
    counts = torch.stack([torch.bincount(graph.batch[graph.numbers == z], minlength=5) for z in (8, 14)])
    expected = before.energy + 1.5 * counts[0] - 2.0 * counts[1]
    assert torch.allclose(after.energy, expected, rtol=0, atol=1e-10)
    assert torch.equal(after.forces, before.forces)
    assert torch.equal(parent(graph).energy, before.energy)  # a copy
    assert torch.allclose(shifted.isolated_energies - parent.isolated_energies, torch.tensor([0.0, 1.5, -2.0]).double())
    if parent.subtract_isolated:
        bound = with_shifted_references(parent, {}, {8: 1.0})
        assert torch.equal(bound.isolated_energies, parent.isolated_energies)
        risen = (bound(graph).atom_energies - before.atom_energies)[graph.numbers == 8]
        assert (risen[:6] > 0.5).all()
    with pytest.raises(InputError, match="does not know Ac; it was trained for C, O, Si"):
        with_shifted_references(parent, {89: 1.0})
    with pytest.raises(InputError, match="'PBE' cannot be shifted: the potential knows one level"):
        with_shifted_references(parent, {8: 1.0}, modal="PBE")


@pytest.mark.parametrize("first", [True, False])
def test_a_new_level_starts_as_a_copy_and_changes_no_other(parent, first):
    potential = parent if first else make_with_modals(subtract_isolated=False)
    graphs = graphs_of(potential)
    start = "PBE" if first else "R2SCAN"
    new = add_modal(potential, "wB97X", start)
    assert new.modals == (["PBE", "wB97X"] if first else ["PBE", "R2SCAN", "wB97X"])
    for graph in graphs[:3]:
        for level, name in enumerate(new.modals):
            origin = start if name == "wB97X" else name
            old = None if first else torch.tensor([potential.modals.index(origin)])
            one, other = potential(graph, old), new(graph, torch.tensor([level]))
            assert torch.allclose(one.energy, other.energy, rtol=0, atol=1e-11)
            assert torch.allclose(one.forces, other.forces, rtol=0, atol=1e-12)
            assert torch.allclose(one.virial, other.virial, rtol=0, atol=1e-11)
    shifted = with_shifted_references(new, {8: 1.0}, modal="wB97X")
    assert torch.equal(shifted.reference_energies[:-1], new.reference_energies[:-1])
    assert (shifted.reference_energies[-1] - new.reference_energies[-1]).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("several", [True, False])
def test_training_a_new_level_alone_leaves_the_old_ones_to_the_bit(several):
    """With a weight decay, too, and with isolated atoms of every level riding along."""
    parent = make_with_modals() if several else nequip(torch.float64)
    start = "R2SCAN" if several else "old"
    new = add_modal(parent, "new", start)
    freeze(new, ["embedding", "basis", "layers", "readout"])
    graph = collate(graphs_of(new))
    levels = [torch.full((5,), level) for level in range(len(new.modals))]
    before = [new(graph, level) for level in levels]
    train(new, graph, levels[-1], weight_decay=0.1)
    after = [new(graph, level) for level in levels]
    for one, other in zip(before[:-1], after[:-1], strict=True):
        for field in ("energy", "forces", "virial"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
    assert (after[-1].forces - before[-1].forces).abs().max() > 1e-3
    original = one_modal(parent, start) if several else parent
    assert torch.allclose(one_modal(new, start)(graph).forces, original(graph).forces, rtol=0, atol=1e-12)


def test_levels_that_cannot_be_added(parent):
    new = add_modal(parent, "new", "old")
    with pytest.raises(InputError, match="knows no 'PBE' for 'newer' to start from; there are old, new"):
        add_modal(new, "newer", "PBE")
    with pytest.raises(InputError, match="has a level of theory 'new' already"):
        add_modal(new, "new", "old")


def test_a_compiled_potential_is_not_for_training():
    compiled = compile_potential(nequip(torch.float32)).potential
    with pytest.raises(InputError, match="take the one it was compiled from"):
        add_modal(compiled, "new", "old")
    with pytest.raises(InputError, match="a compiled potential cannot be trained"):
        freeze(compiled, ["embedding"])


def test_every_weight_is_of_one_part(parent):
    potential = add_modal(parent, "new", "old")
    groups = layer_groups(potential)
    assert list(groups)[:2] == ["embedding", "modals"]
    assert {name.split(".")[-1] for name in groups} == {
        *("embedding", "modals", "basis", "readout", "radial", "linear", "self_connection")
    }
    assert {name for name in groups if name.startswith("layers.")} == {
        f"layers.{layer}.{part}" for layer in (0, 1) for part in ("radial", "linear", "self_connection")
    }
    found = [id(weight) for weights in groups.values() for weight in weights]
    assert sorted(found) == sorted(id(weight) for weight in potential.parameters() if weight.numel())


@pytest.mark.parametrize(
    ("names", "frozen"),
    [
        (["embedding", "layers.0"], {"embedding", "layers.0.radial", "layers.0.linear", "layers.0.self_connection"}),
        (["radial", "basis"], {"basis", "layers.0.radial", "layers.1.radial"}),
        (["layers.1.linear"], {"layers.1.linear"}),
        (["readout", "self_connection"], {"readout", "layers.0.self_connection", "layers.1.self_connection"}),
    ],
)
@pytest.mark.parametrize("rank", [None, 2])
def test_frozen_parts_have_no_gradient_and_keep_their_bits(parent, names, frozen, rank):
    freeze(parent, names)
    groups = layer_groups(parent)
    before = {name: [weight.detach().clone() for weight in weights] for name, weights in groups.items()}
    if rank is not None:
        add_low_rank_updates(parent, rank)
    train(parent, collate(graphs_of(parent)), weight_decay=0.01)
    for name, weights in groups.items():
        for weight, old in zip(weights, before[name], strict=True):
            adapted = rank is not None and not weight.requires_grad
            assert torch.equal(weight, old) == (name in frozen or adapted), name
            assert (weight.grad is None) == (name in frozen or adapted), name
    if rank is not None:
        trained = {name for name, own in layer_groups(parent).items() if any(w.requires_grad for w in own)}
        assert trained == set(groups) - frozen


def test_learning_rates_of_parts(parent):
    rates = {"readout": 10.0, "layers": 0.1, "layers.0": 0.5, "layers.0.radial": 2.0}
    freeze(parent, ["embedding"])
    groups = parameter_groups(parent, 0.02, rates)
    lr = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    expected = {"readout": 0.2, "layers.0.radial": 0.04, "layers.0.linear": 0.01, "layers.1.linear": 0.002}
    expected |= {"basis": 0.02, "layers.1.radial": 0.002}
    named = layer_groups(parent)
    for name, value in expected.items():
        assert [lr[id(weight)] for weight in named[name]] == pytest.approx([value] * len(named[name])), name
    assert not {id(weight) for weight in named["embedding"]} & lr.keys()
    assert groups[0]["lr"] == pytest.approx(0.02)  # what a progress bar shows
    # an optimiser takes them, and a step moves each part by its rate
    before = {name: weights[0].detach().clone() for name, weights in named.items()}
    train(parent, collate(graphs_of(parent)), steps=1, lr_factors=rates)
    for name in ("readout", "layers.0.linear", "layers.1.radial"):
        moved = (named[name][0] - before[name]).abs().max().item()
        assert moved == pytest.approx(0.5 * expected[name], rel=1e-3)  # the base rate is 0.01 here


def test_what_no_part_is_called():
    potential = nequip(torch.float64, layers=3)
    for name, near in (("embeding", "embedding"), ("layer.1", "layers.1"), ("layers.2.radials", "layers.2.radial")):
        with pytest.raises(InputError, match=rf"freeze names '{name}', .* did you mean {near}\? There are embedding, "):
            freeze(potential, [name])
    with pytest.raises(InputError, match=r"did you mean layers\.\d\? .* layers.0 to layers.2, also with .radial"):
        freeze(potential, ["layers.3"])
    with pytest.raises(InputError, match="freeze names 'zbl', which is no part of the model; there are embedding"):
        freeze(potential, ["zbl"])
    with pytest.raises(InputError, match=r"finetune.lr_factors names 'head', which is no part"):
        parameter_groups(potential, 0.01, {"head": 2.0}, "finetune.lr_factors")


def test_settings_without_sense_are_refused():
    potential = nequip(torch.float64, layers=3)
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"lr_factors.readout is .*; it must be above 0"):
            parameter_groups(potential, 0.01, {"readout": factor})
    with pytest.raises(InputError, match=r"has radial and layers\.0, which both hold layers\.0\.radial"):
        parameter_groups(potential, 0.01, {"radial": 2.0, "layers.0": 3.0})
    freeze(potential, ["readout"])
    with pytest.raises(InputError, match=r"lr_factors.readout has no effect, for all of it is frozen"):
        parameter_groups(potential, 0.01, {"readout": 3.0})
    with pytest.raises(InputError, match="freeze names every part of the model, so there is nothing to train"):
        freeze(potential, ["layers", "embedding", "readout", "basis"])


def test_architecture_of_a_new_level_is_checked():
    with pytest.raises(InputError, match="at most 64 distinct names"):
        add_modal(nequip(torch.float64), "", "old")
    assert isinstance(add_modal(nequip(torch.float64), "new", "old").architecture, NequIPArchitecture)
