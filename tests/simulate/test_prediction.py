from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from equinet.data import LabelKeys, graph_from_atoms, read_records
from equinet.errors import DataWarning, InputError
from equinet.models.inference import BatchLimits, batched
from equinet.simulate import Calculator, PredictionStream, predict
from equinet.simulate.prediction import StructureError, with_result
from equinet.simulate.structures import BUILDERS, bulk, molecule, slab


def mixed():
    return [builder(species, seed) for seed in (0, 1) for species in ([14], [6, 14]) for builder in BUILDERS.values()]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_equal_singles(potential, batch_size):
    structures = [*mixed(), Atoms("Si"), Atoms("C", cell=[20] * 3, pbc=True)]
    results = predict(potential, structures, batch_size=batch_size)
    assert len(results) == len(structures)
    calc = Calculator(potential)
    for atoms, result in zip(structures, results, strict=True):
        assert result.energy == pytest.approx(calc.get_property("energy", atoms), abs=1e-10)
        np.testing.assert_allclose(result.forces, calc.get_property("forces", atoms), atol=1e-10)
        np.testing.assert_allclose(result.energies, calc.results["energies"], atol=1e-10)
        np.testing.assert_allclose(result.virial, calc.results["virial"], atol=1e-10)
        assert (result.stress is None) == (not atoms.pbc.all())
        if result.stress is not None:
            np.testing.assert_allclose(result.stress, -result.virial / atoms.get_volume(), atol=1e-12)


def test_batches_keep_to_their_budget(potential):
    graphs = [graph_from_atoms(atoms, potential.cutoff) for atoms in mixed()]
    assert [len(batch) for batch in batched(graphs, BatchLimits(3))] == [3] * 6 + [2]
    (everything,) = batched(graphs, BatchLimits())
    assert all(a is b for a, b in zip(everything, graphs, strict=True))
    for batch in batched(graphs, BatchLimits(atoms=15)):
        assert sum(len(graph.numbers) for graph in batch) <= 15
    batches = list(batched(graphs, BatchLimits(edges=200)))
    assert all(len(batch) == 1 or sum(len(g.senders) for g in batch) <= 200 for batch in batches)
    assert max(map(len, batches)) > 1
    assert sum(map(len, batches)) == len(graphs)


def test_progress_and_mode(potential):
    potential.train()
    counts = []
    predict(potential, mixed()[:5], batch_size=2, on_batch=counts.append)
    assert counts == [2, 4, 5]
    assert potential.training


def test_nothing_to_predict(potential):
    assert predict(potential, []) == []


def test_errors_name_the_frame(potential):
    with pytest.raises(InputError, match="frame 1: the potential does not know O"):
        predict(potential, [bulk([14]), Atoms("O")])
    with pytest.raises(InputError, match=r"frame 0: .* at one place"):
        predict(potential, [Atoms("Si2")])


@pytest.mark.parametrize("size", [0, -1, 2.5, "foo", "4"])
def test_batch_sizes_that_are_none(potential, size):
    with pytest.raises(InputError, match=f"batch size of {size!r} makes no sense"):
        predict(potential, [bulk([14])], batch_size=size)


def test_what_is_given_by_mistake(potential):
    with pytest.raises(InputError, match=r"'model.safetensors' is no potential; load one with equinet.load"):
        predict("model.safetensors", [bulk([14])])
    with pytest.raises(InputError, match=r"takes a list of structures; give \[atoms\]"):
        predict(potential, bulk([14]))
    with pytest.raises(InputError, match=r"read it: ase.io.read\('a.extxyz', ':'\)"):
        predict(potential, Path("a.extxyz"))
    with pytest.raises(InputError, match="frame 1: a list is no structure"):
        predict(potential, [bulk([14]), [bulk([14])]])


def same_bits(first, second):
    return len(first) == len(second) and all(
        a.energy == b.energy and (a.forces == b.forces).all() and (a.virial == b.virial).all()
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"], ["cpu"] * 5])
def test_several_devices_give_the_same_bits_in_the_same_order(potential, devices):
    structures = mixed() * 3
    counts = []
    one = predict(potential, structures, batch_size=4)
    several = predict(potential, structures, batch_size=4, devices=devices, on_batch=counts.append)
    assert same_bits(one, several)
    assert counts == [*range(4, 60, 4), 60]
    potential.train()
    predict(potential, structures[:3], devices=devices)
    assert potential.training


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]])
def test_a_bad_structure_in_the_middle(potential, devices):
    """What comes before it is predicted; or it is left out, and all others are."""
    structures = [*mixed()[:7], Atoms("O"), *mixed()[:3], Atoms("Si2"), Atoms("Si", positions=[[np.nan] * 3])]
    keyed = [(f"number {number}", atoms) for number, atoms in enumerate(structures)]
    met = []
    with pytest.raises(StructureError, match="number 7: the potential does not know O"):
        met.extend(each for batch in PredictionStream(potential, keyed, 2, devices) for each in batch)
    assert [each.key for each in met] == [f"number {number}" for number in range(6)]  # whole batches

    bad = {}
    met = [each for batch in PredictionStream(potential, keyed, 2, devices, bad.__setitem__) for each in batch]
    assert [each.key for each in met] == [f"number {number}" for number in (*range(7), 8, 9, 10)]
    assert all(each.atoms is structures[int(each.key.split()[1])] for each in met)
    assert {key: str(error)[:30] for key, error in bad.items()} == {
        "number 7": "the potential does not know O;",
        "number 11": "atoms 0 and 1 are at one place",
        "number 12": "the position of atom 0 is not ",
    }


def test_structures_are_read_as_they_are_needed(potential):
    read = []

    def endless():
        while True:
            read.append(1)
            yield None, bulk([14])

    stream = iter(PredictionStream(potential, endless(), 4))
    assert [len(next(stream)) for _ in range(3)] == [4, 4, 4]
    assert len(read) == 13


def test_devices_that_cannot_be(potential):
    with pytest.raises(InputError, match="torch sees"):
        predict(potential, [], devices=["cuda:99"])
    with pytest.raises(InputError, match="is not a device"):
        predict(potential, [], devices=["abacus"])


def test_batches_by_memory_are_the_same_numbers(potential):
    """So few structures fit into one batch of fixed limits: nothing is measured."""
    assert PredictionStream(potential, enumerate(mixed()), "auto").limits == BatchLimits()
    for one, other in zip(predict(potential, mixed(), 1), predict(potential, mixed(), "auto"), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-10)


def test_labels_move_aside_and_nothing_is_lost(potential, tmp_path):
    atoms = bulk([14])
    atoms.info["config"] = "a"
    atoms.arrays["weight"] = np.arange(8.0)
    stress = np.arange(6.0)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((8, 3)), stress=stress)
    (result,) = predict(potential, [atoms])
    write(tmp_path / "a.extxyz", with_result(atoms, result))
    frame = read(tmp_path / "a.extxyz")
    assert frame.get_potential_energy() == pytest.approx(result.energy)
    np.testing.assert_allclose(frame.get_forces(), result.forces, atol=1e-7)
    np.testing.assert_allclose(frame.get_stress(voigt=False), result.stress)
    assert frame.info["REF_energy"] == 1.0
    assert frame.info["config"] == "a"
    np.testing.assert_array_equal(frame.arrays["REF_forces"], 1.0)
    np.testing.assert_array_equal(frame.info["REF_stress"], stress)
    np.testing.assert_array_equal(frame.arrays["weight"], np.arange(8.0))
    # predicting the output again keeps the true labels, not the first prediction
    again = with_result(frame, result)
    assert again.info["REF_energy"] == 1.0


def test_labels_in_info_move_too_and_a_slab_gets_its_virial(potential, tmp_path):
    atoms = slab([14])
    atoms.info |= {"energy": 2.0, "virial": np.eye(3)}
    (result,) = predict(potential, [atoms])
    frame = with_result(atoms, result)
    assert frame.info["REF_energy"] == 2.0
    np.testing.assert_array_equal(frame.info["REF_virial"], np.eye(3))
    write(tmp_path / "a.extxyz", frame)
    with pytest.warns(DataWarning, match="REF_energy"):
        (record,) = read_records(tmp_path / "a.extxyz", LabelKeys(virial="virial")).records
    np.testing.assert_allclose(record.virial, result.virial)
    assert atoms.info["energy"] == 2.0  # the input is not changed


def test_molecule_has_no_stress_in_the_file(potential, tmp_path):
    atoms = molecule([14])
    write(tmp_path / "a.extxyz", with_result(atoms, predict(potential, [atoms])[0]))
    assert "stress" not in read(tmp_path / "a.extxyz").calc.results
