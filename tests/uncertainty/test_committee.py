"""A committee evaluated at once is its members one by one; where it cannot be, it says so and is still right."""

import dataclasses

import numpy as np
import pytest
import torch

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import AtomicGraph, build_graph, collate
from equinet.models import CompiledNequIPArchitecture, Potential, one_modal
from equinet.nn import add_low_rank_updates
from equinet.simulate.structures import BUILDERS
from equinet.uncertainty import Committee, committee
from equinet.uncertainty.last_layer import readout_width
from equinet_kernels import dispatch, use
from tests.cli.conftest import run  # noqa: F401 fixture
from tests.models.conftest import DEFAULTS, POTENTIALS, SPECIES, nequip
from tests.uncertainty.conftest import graph_of, small_potential, structure

NUMBERS = ("energy", "atom_energies", "forces", "virial", "stress", "member_energies", "features")


def redrawn(potential: Potential, seed: int) -> Potential:
    """With other weights, reference energies, scales and shifts."""
    generator = torch.Generator().manual_seed(seed)
    potential.eval().requires_grad_(False)
    for tensor in [*potential.model.parameters(), potential.reference_energies, potential.scale, potential.shift]:
        tensor.mul_(1.0 + 0.2 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return potential


def members_of(name: str, dtype: torch.dtype = torch.float64) -> list[Potential]:
    return [redrawn(POTENTIALS[name](dtype), seed) for seed in range(3)]


def drawn_graphs(cutoff: float) -> dict[str, AtomicGraph]:
    """Periodic in some directions and in none, without edges at all, and together."""
    graphs = {kind: graph_from_atoms(build(SPECIES, 0), cutoff) for kind, build in BUILDERS.items()}
    graphs["atom"] = build_graph(np.zeros((1, 3)), SPECIES[1:2], np.zeros((3, 3)), [False] * 3, cutoff)
    far = 3 * cutoff * np.arange(3.0)[:, None] * np.ones(3)
    graphs["atoms far apart"] = build_graph(far, SPECIES, np.zeros((3, 3)), [False] * 3, cutoff)
    return graphs | {"batch": collate(list(graphs.values()))}


def ran_apart(members: list[Potential], source: Committee, graph: AtomicGraph) -> bool:
    """Whether the second member itself is asked."""
    calls = []
    hook = members[1].register_forward_hook(lambda *_: calls.append(1))
    source(graph)
    hook.remove()
    return bool(calls)


def demand_members(source: Committee, members: list[Potential], graph: AtomicGraph, tolerance: float = 1e-12) -> None:
    """Every number of every member, what the committee makes of them, and the first one's features."""
    predictions, features = source.of_each(graph)
    expected = [member(graph) for member in members]
    none = torch.zeros(0, readout_width(members[0]))

    def equal(found: torch.Tensor, wanted: torch.Tensor) -> None:
        scale = max(1.0, float(wanted.nan_to_num().abs().max()) if wanted.numel() else 0.0)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=tolerance * scale, equal_nan=True)

    for prediction, one in zip(predictions, expected, strict=True):
        for name in NUMBERS:
            equal(getattr(prediction, name), getattr(one, name))
    equal(features, members[0].with_readout_derivatives(graph, none)[1].features)
    spread = source(graph)
    for name in ("energy", "atom_energies", "forces", "virial", "stress"):
        equal(getattr(spread.prediction, name), torch.stack([getattr(one, name) for one in expected]).mean(dim=0))
    energies, forces, stresses = (
        torch.stack([getattr(one, name) for one in expected]) for name in ("energy", "forces", "stress")
    )
    equal(spread.prediction.member_energies, energies)
    equal(spread.energy, energies.var(dim=0))
    equal(spread.forces, forces.var(dim=0).mean(dim=1))
    equal(spread.stress, stresses.var(dim=0).mean(dim=(1, 2)))


@pytest.mark.parametrize("name", POTENTIALS)
def test_at_once_is_one_by_one(name):
    members = members_of(name)
    source = Committee(members)
    graphs = drawn_graphs(members[0].cutoff)
    for kind in ("bulk", "atom", "atoms far apart", "batch"):
        demand_members(source, members, graphs[kind])
    graph = graphs["batch"]
    assert not ran_apart(members, source, graph)
    found = source(graph)
    assert found.energy.min() > 1e-6
    assert found.forces.max() > 1e-3
    with pytest.raises(InputError, match="does not know Au"):
        source(graph._replace(numbers=torch.full_like(graph.numbers, 79)))


def test_single_precision():
    members = members_of("nequip", torch.float32)
    demand_members(Committee(members), members, drawn_graphs(4.0)["batch"], 1e-5)


def test_reference_operators():
    members = members_of("nequip")
    with use("reference"), dispatch.observe() as seen:
        demand_members(Committee(members), members, drawn_graphs(4.0)["batch"])
    assert {implementation for _, implementation in seen} == {"reference"}


def test_members_of_subsets_have_their_own_mean_numbers_of_neighbours():
    members = [redrawn(nequip(torch.float64, mean_neighbors=mean), seed) for seed, mean in enumerate((9.0, 14.0))]
    members += [redrawn(nequip(torch.float64, mean_neighbors=[11.0, 20.0]), 2)]
    source = Committee(members)
    assert not source.apart
    demand_members(source, members, drawn_graphs(4.0)["batch"])


def test_members_with_biases_of_one_level_of_theory():
    levels = [nequip(torch.float64, modals=["PBE", "SCAN"], **MODAL) for _ in range(2)]
    members = [one_modal(redrawn_biases(level, seed), "SCAN") for seed, level in enumerate(levels)]
    demand_members(Committee(members), members, drawn_graphs(4.0)["batch"])
    with pytest.raises(InputError, match="levels of theory PBE, SCAN; choose one"):
        Committee(levels)(drawn_graphs(4.0)["molecule"])


MODAL = {
    "potential": {"isolated_energies": [[-10.0, -20.0, -5.0]] * 2, "scale": 2.0, "shift": [[-3.0, -2.0, -4.0]] * 2}
}


def redrawn_biases(potential: Potential, seed: int) -> Potential:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in potential.named_parameters():
        if "bias" in name or "modal" in name:
            tensor.data.normal_(generator=generator)
    return redrawn(potential, seed)


def test_members_with_low_rank_updates():
    members = members_of("nequip")
    for member in members:
        member.requires_grad_(True)
        add_low_rank_updates(member, rank=2)
        redrawn(member, 5)
        for name, tensor in member.named_parameters():
            if ".b." in name:
                tensor.normal_()
    demand_members(Committee(members), members, drawn_graphs(4.0)["batch"])


def compiled() -> Potential:
    """With tables of nonsense."""
    plain = nequip(torch.float64)
    architecture = CompiledNequIPArchitecture(dataclasses.asdict(plain.architecture), intervals=8)
    potential = Potential(architecture, **DEFAULTS, dtype=torch.float64)
    for parameter in potential.model.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    return potential


def test_order_of_members_does_not_matter():
    members = members_of("nequip")
    graph = drawn_graphs(4.0)["batch"]
    one, other = Committee(members)(graph), Committee(members[::-1])(graph)
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-13, equal_nan=True)
        mean, same = getattr(one.prediction, name), getattr(other.prediction, name)
        torch.testing.assert_close(mean, same, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_copies_count_as_a_batch_does(monkeypatch):
    """Members whose graphs would together be larger than a batch may be take turns."""
    members = members_of("nequip")
    source = Committee(members)
    graph = drawn_graphs(4.0)["bulk"]
    edges = len(members) * len(graph.senders)
    for limit, apart in ((edges, False), (edges - 1, True)):
        monkeypatch.setattr(committee, "CPU_EDGES", limit)
        assert ran_apart(members, source, graph) == apart
        demand_members(source, members, graph)


@pytest.mark.parametrize("kind", ["channels", "precision", "zbl", "compiled"])
def test_what_cannot_be_at_once_is_one_by_one(kind):
    others = {
        "channels": lambda: nequip(torch.float64, channels=5),
        "precision": lambda: nequip(torch.float32),
        "zbl": lambda: nequip(torch.float64, {"zbl": True}),
        "compiled": compiled,
    }
    first = nequip(torch.float64) if kind != "compiled" else others["compiled"]()
    members = [redrawn(first, 0), redrawn(others[kind](), 1)]
    source = Committee(members)
    assert ("compiled models" if kind == "compiled" else "differ in architecture") in source.apart
    graph = drawn_graphs(4.0)["batch"]
    assert ran_apart(members, source, graph)
    demand_members(source, members, graph)


def test_it_is_said_that_members_are_evaluated_one_by_one(files, tmp_path, run):  # noqa: F811
    from equinet.models import save_model

    save_model(small_potential(seed=5, channels=4), tmp_path / "narrow.safetensors")
    said = "members are evaluated one by one, not at once: they differ in architecture"
    data = ("--train", files / "train.extxyz", "--calibrate", files / "calibrate.extxyz")
    for other, apart in ((files / "other.safetensors", False), (tmp_path / "narrow.safetensors", True)):
        models = (files / "model.safetensors", other)
        code, out, _ = run("uncertainty", *models, *data, "-o", tmp_path / "committee.safetensors")
        assert code == 0
        assert (said in out) == apart


def test_frozen_potentials_have_the_same_readout_derivatives():
    """Isolated atoms, computed once, stand for themselves."""
    potential = small_potential()
    graph = graph_of(structure(7), potential)
    directions = torch.eye(readout_width(potential), dtype=torch.float64)[:2]
    plain, frozen = (one.with_readout_derivatives(graph, directions)[1] for one in (potential, potential.frozen()))
    for one, other in zip(plain, frozen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
