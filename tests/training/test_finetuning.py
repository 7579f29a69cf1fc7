"""What stands at the first step of a fine-tuning, and what is replayed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read, write

from equinet.data import Modals, make_example, read_records
from equinet.errors import InputError
from equinet.models import NequIPArchitecture, Potential, one_modal, save_model
from equinet.nn import is_adapted
from equinet.training.evaluation import predict_records
from equinet.training.finetuning import (
    FineTuning,
    Replay,
    label_records,
    new_records,
    parent_settings,
    prepare,
    replayed,
    start_from,
)
from tests.training.conftest import labelled

SPECIES = [13, 29, 79]
ARCHITECTURE = NequIPArchitecture(
    cutoff=3.2, layers=2, l_max=1, channels=2, num_bessel=3, radial_hidden=[4], parity="natural", mean_neighbors=12.0
)


def make(modals=(), **options) -> Potential:
    torch.manual_seed(1)
    shape = (len(modals), 3) if modals else (3,)
    energies = np.full(shape, -1.0) - np.arange(np.prod(shape)).reshape(shape)
    return Potential(replace(ARCHITECTURE, modals=list(modals)), SPECIES, energies.tolist(), 1.0, **options).eval()


@pytest.fixture
def parent(tmp_path):
    """A file of drawn weights that knows copper, aluminium and gold."""
    save_model(make(), tmp_path / "parent.safetensors")
    return str(tmp_path / "parent.safetensors")


@pytest.fixture
def two_levels(tmp_path):
    save_model(make(["PBE", "R2SCAN"]), tmp_path / "two.safetensors")
    return str(tmp_path / "two.safetensors")


@pytest.fixture
def copper(copper_file):
    return list(read_records(copper_file))


@pytest.fixture(scope="session")
def alloys(tmp_path_factory):
    """Copper-gold and aluminium, as other structures of the parent's data."""
    rng = np.random.default_rng(3)
    frames = []
    for symbol, other in (("Cu", "Au"), ("Al", "Al"), ("Au", "Cu"), ("Al", "Cu")) * 3:
        atoms = bulk(symbol, cubic=True)
        atoms.symbols[0] = other
        atoms.rattle(0.05, rng=rng)
        frames.append(labelled(atoms, ("energy", "forces", "stress")))
    path = tmp_path_factory.mktemp("alloys") / "alloys.extxyz"
    write(path, frames)
    return str(path)


def residuals(potential, records):
    return [(f.record.energy - f.energy) / len(f.record.numbers) for f in predict_records(potential, records)]


def test_e0_is_fitted_to_what_the_parent_lacks(parent, copper):
    start = start_from(FineTuning(parent), copper, Modals())
    before = residuals(make(), copper)
    assert np.mean(residuals(start.potential, copper)) == pytest.approx(0.0, abs=1e-6)
    (shift,) = start.shifts.values()
    assert shift.isolated == {29: pytest.approx(np.mean(before))}
    assert shift.rms_after == pytest.approx(np.std(before), rel=1e-6)
    moved = start.potential.reference_energies - make().reference_energies
    assert moved.tolist() == [0.0, pytest.approx(np.mean(before)), 0.0]  # aluminium and gold keep theirs
    assert start.describe()[0] == f"starting from {parent}, 3 elements"
    assert "E0 shifted to fit E_label - E_parent of 16 frames: Cu " in start.describe()[1]
    kept = start_from(FineTuning(parent, refit_isolated_energies=False), copper, Modals())
    assert torch.equal(kept.potential.reference_energies, make().reference_energies)
    assert kept.shifts == {}
    assert len(start.provenance["sha256"]) == 64


def test_a_new_level_is_fitted_alone(parent, two_levels, copper):
    for settings, names in (
        (FineTuning(parent, new_modal="EMT"), ["parent", "EMT"]),
        (FineTuning(parent, new_modal="EMT", from_modal="PBE"), ["PBE", "EMT"]),
        (FineTuning(two_levels, new_modal="EMT", from_modal="R2SCAN"), ["PBE", "R2SCAN", "EMT"]),
    ):
        assert parent_settings(settings)["architecture.modals"] == names
        modals = Modals(tuple(names))
        start = start_from(settings, new_records(copper, "copper", settings, modals), modals)
        assert start.potential.modals == names
        single = one_modal(start.potential, "EMT")
        assert np.mean(residuals(single, copper)) == pytest.approx(0.0, abs=1e-6)
        old = one_modal(start.potential, names[-2])
        original = make() if settings.parent == parent else one_modal(make(["PBE", "R2SCAN"]), "R2SCAN")
        graph = make_example(copper[0], 3.2).graph
        assert torch.allclose(old(graph).energy, original(graph).energy, rtol=0, atol=1e-5)
        assert torch.allclose(single(graph).forces, original(graph).forces, rtol=0, atol=1e-6)
    # one of several alone
    settings = FineTuning(two_levels, from_modal="R2SCAN")
    assert start_from(settings, copper, Modals()).potential.modals == []
    decided = parent_settings(settings)
    assert decided["architecture.modals"] == []
    assert decided["architecture.biases"] is True


def test_the_file_decides_the_architecture(parent):
    decided = parent_settings(FineTuning(parent))
    assert decided["architecture.cutoff"] == 3.2
    assert decided["architecture.channels"] == 2
    assert decided["subtract_isolated"] is True
    assert NequIPArchitecture(
        **{key.removeprefix("architecture."): value for key, value in decided.items() if "." in key}
    ) == (ARCHITECTURE)


@pytest.mark.parametrize("label", ["file", "parent"])
def test_replayed_structures_mean_what_they_meant(parent, copper, alloys, label, tmp_path):
    settings, modals = FineTuning(parent), Modals()
    start = start_from(settings, copper, modals)
    records = replayed(Replay(alloys, label, ratio=0.5, turns=1, weight=0.1), start, settings, 16, modals, seed=0)
    assert len(records) == 8
    assert {(r.info["data_set"], r.info["replay_weight"]) for r in records} == {("alloys", 0.1)}
    originals = {record.source: record for record in read_records(alloys)}
    (shift,) = start.shifts.values()
    for record in records:
        original = originals[record.source]
        if label == "file":
            moved = shift.isolated[29] * np.count_nonzero(record.numbers == 29)
            assert record.energy == pytest.approx(original.energy + moved)
            assert np.array_equal(record.forces, original.forces)
        else:
            (predicted,) = predict_records(start.potential, [original])
            assert record.energy == pytest.approx(predicted.energy, abs=1e-6)
            assert record.forces == pytest.approx(predicted.forces, abs=1e-6)
            assert record.stress == pytest.approx(predicted.stress, abs=1e-9)
    if label == "parent":  # labels in the file do not matter
        bare = [atoms.copy() for atoms in read(alloys, ":")]
        write(tmp_path / "alloys.extxyz", bare)
        unlabelled = Replay(str(tmp_path / "alloys.extxyz"), label, ratio=0.5, turns=1)
        again = replayed(unlabelled, start, settings, 16, modals, seed=0)
        assert [record.energy for record in again] == [record.energy for record in records]
    # an element that the new data lack is predicted as before
    (aluminium,) = [r for r in read_records(alloys) if set(r.numbers) == {13}][:1]
    (one,), (other,) = (predict_records(p, [aluminium]) for p in (start.potential, make()))
    assert one.energy == other.energy


def test_replay_of_the_level_a_new_one_started_from(two_levels, copper, alloys):
    settings = FineTuning(two_levels, new_modal="EMT", from_modal="PBE")
    modals = Modals(("PBE", "R2SCAN", "EMT"))
    new = new_records(copper, "copper", settings, modals)
    assert {record.info["modal"] for record in new} == {"EMT"}
    start = start_from(settings, new, modals)
    from_file = replayed(Replay(alloys, turns=1), start, settings, 8, modals, seed=0)
    originals = {record.source: record.energy for record in read_records(alloys)}
    assert {record.info["modal"] for record in from_file} == {"PBE"}
    assert [record.energy for record in from_file] == [originals[record.source] for record in from_file]
    predicted = replayed(Replay(alloys, "parent", turns=1), start, settings, 8, modals, seed=0)
    assert residuals(one_modal(make(["PBE", "R2SCAN"]), "PBE"), predicted) == pytest.approx([0.0] * 8, abs=1e-6)


def test_labels_by_a_potential(copper):
    slab = replace(copper[0], pbc=[True, True, False], virial=None)
    bulk_record, flat = label_records(make(), [copper[0], slab])
    assert bulk_record.virial is not None
    assert flat.virial is None
    assert flat.energy is not None


def test_parts_and_updates_are_prepared(parent):
    potential = make()
    prepare(potential, FineTuning(parent, freeze=["embedding", "layers.0"], lora_rank=1))
    assert is_adapted(potential.model.layers[1])
    assert not is_adapted(potential.model.layers[0])
    assert not potential.model.embedding.requires_grad
    with pytest.raises(InputError, match="lora_rank has nothing to act on"):
        prepare(make(), FineTuning(parent, freeze=["linear", "self_connection", "readout"], lora_rank=1))
    with pytest.raises(InputError, match=r"model.finetune.freeze names 'head'"):
        prepare(make(), FineTuning(parent, freeze=["head"]))


def test_mistakes_are_one_line(parent, two_levels, copper, alloys, tmp_path):
    for settings, match in (
        ({"freeze": ["readout"]}, "has settings, but no parent"),
        ({"parent": parent, "lora_rank": 0}, "lora_rank is 0; it must be at least 1"),
        ({"parent": parent, "lora_alpha": 2.0}, "lora_alpha is 2.0; it must be positive, and goes with lora_rank"),
    ):
        with pytest.raises(InputError, match=match):
            FineTuning(**settings)
    with pytest.raises(InputError, match=r"lr_factors\.readout is 0\.0; it must be above 0"):
        FineTuning(parent, lr_factors={"readout": 0.0})
    with pytest.raises(InputError, match=r"data\.replay has settings, but no structures; give data\.replay\.path"):
        Replay(ratio=3.0)
    with pytest.raises(InputError, match=r"of the model; there are embedding, .*, and layers\.0 to layers\.1, also"):
        prepare(make(), FineTuning(parent, freeze=["zzzz"]))
    for name in ("ratio", "weight"):
        with pytest.raises(InputError, match=f"data.replay.{name} is 0.0; it must be above 0"):
            Replay(alloys, **{name: 0.0})
    with pytest.raises(InputError, match=r"data\.replay\.turns is 0; it must be at least 1"):
        Replay(alloys, turns=0)
    assert (
        len(
            replayed(
                Replay(alloys, ratio=0.25),
                start_from(FineTuning(parent), copper, Modals()),
                FineTuning(parent),
                16,
                Modals(),
                seed=0,
            )
        )
        == 12
    )  # fmt: skip all there are
    for settings, match in (
        (FineTuning(parent, from_modal="PBE"), "knows one level of theory; leave out model.finetune.from_modal"),
        (FineTuning(two_levels, from_modal="LDA"), "from_modal is LDA, but .* knows PBE, R2SCAN"),
        (FineTuning(two_levels, new_modal="EMT"), "say which of them EMT starts from with model.finetune.from_modal"),
        (FineTuning(str(tmp_path / "none")), "no model file"),
    ):
        for call in (parent_settings, lambda settings: start_from(settings, copper, Modals())):
            with pytest.raises(InputError, match=match):
                call(settings)
    silicon = replace(copper[0], numbers=[14, 29, 29, 29], source="my.extxyz frame 3")
    with pytest.raises(
        InputError, match=r"the parent .* does not know Si \(my.extxyz frame 3\); leave these frames out"
    ):
        start_from(FineTuning(parent), [*copper, silicon], Modals())
    alloy = [replace(record, numbers=[29, 79, 79, 79]) for record in copper]
    with pytest.raises(InputError, match="the data hold Cu and Au in proportions"):
        start_from(FineTuning(parent), alloy, Modals(), replays=True)
    start_from(FineTuning(parent, refit_isolated_energies="minimal"), alloy, Modals(), replays=True)
    minimal = start_from(FineTuning(parent), alloy, Modals())
    assert "of Cu and Au only the sum is known" in minimal.describe()[2]
    with pytest.raises(InputError, match="32 structures are to be replayed, but there are 12"):
        replayed(Replay(alloys, ratio=2.0), minimal, FineTuning(parent), 16, Modals(), seed=0)
