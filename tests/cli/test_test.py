"""``equinet test``."""

import json

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.simulate import Calculator
from equinet.simulate.structures import bulk, molecule


@pytest.fixture
def labelled(model_file, tmp_path):
    """Labels that differ from the model's answers by known amounts: 8 and 7 atoms, alternating."""
    calc = Calculator(model_file)
    frames = []
    for number in range(6):
        atoms = (bulk, molecule)[number % 2]([6, 14], number)
        energy, forces = calc.get_property("energy", atoms), calc.get_property("forces", atoms)
        results = {"energy": energy + 0.010 * len(atoms), "forces": forces - 0.020}
        if atoms.pbc.all():
            results["stress"] = calc.get_property("stress", atoms) + 0.001
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["kind"] = ("crystal", "molecule")[number % 2]
        frames.append(atoms)
    path = tmp_path / "labelled.extxyz"
    ase.io.write(path, frames)
    return path


def test_errors_are_those_that_were_put_in(run, model_file, labelled, tmp_path):
    code, out, err = run("test", model_file, labelled, "--json", tmp_path / "e.json", "--by", "kind")
    assert (code, err) == (0, "")
    errors = json.loads((tmp_path / "e.json").read_text())
    assert errors["frames"] == 6
    assert errors["energy_mae_mev_per_atom"] == pytest.approx(10.0, abs=1e-3)
    assert errors["force_mae_mev_per_angstrom"] == pytest.approx(20.0, abs=1e-3)
    assert errors["force_vector_mae_mev_per_angstrom"] == pytest.approx(20.0 * np.sqrt(3), abs=1e-2)
    assert errors["stress_mae_gpa"] == pytest.approx(0.160218, abs=1e-4)
    assert errors["stress_rmse_gpa"] == pytest.approx(0.160218, abs=1e-4)
    low, high = errors["energy_mae_mev_ci95"]
    assert low < errors["energy_mae_mev"] < high
    assert errors["groups"]["molecule"]["frames"] == 3
    assert errors["groups"]["molecule"]["energy_mae_mev"] == pytest.approx(70.0, abs=1e-2)
    assert errors["data"]["frames_with_energy"] == 6
    lines = out.splitlines()
    assert lines[0] == f"{model_file} on {labelled}: 6 frames (3 with stress)"
    row = next(line for line in lines if line.strip().startswith("energy per atom, meV/atom"))
    assert row.split()[-8:] == ["10", "10", "..", "10", "10", "10", "..", "10"]
    assert any("crystal" in line and " 3 " in line for line in lines)
    assert any(line.strip().startswith("Si") for line in lines)  # forces by element


def test_numbers_do_not_depend_on_the_batches(run, model_file, labelled, tmp_path):
    found = []
    for size in (1, 4):
        assert run("test", model_file, labelled, "--json", tmp_path / "e.json", "--batch-size", size)[0] == 0
        found.append(json.loads((tmp_path / "e.json").read_text()))
    for key, value in found[0].items():
        if isinstance(value, float):
            assert value == pytest.approx(found[1][key], rel=1e-6)


def test_a_named_key_is_used(run, model_file, labelled, tmp_path):
    frames = ase.io.read(labelled, index=":")
    for atoms in frames:
        atoms.info["pbe_energy"] = atoms.get_potential_energy() + 1.0
        atoms.calc.results.pop("energy")
    ase.io.write(tmp_path / "named.extxyz", frames)
    command = ["test", model_file, tmp_path / "named.extxyz", "--keys.energy", "pbe_energy"]
    assert run(*command, "--json", tmp_path / "e.json")[0] == 0
    errors = json.loads((tmp_path / "e.json").read_text())
    mean = np.mean([1.0 / 8 + 0.010, 1.0 / 7 + 0.010])
    assert errors["energy_mae_mev_per_atom"] == pytest.approx(1000 * mean, abs=1e-3)


def test_errors(fails, model_file, labelled, structures, tmp_path):
    assert "no frame has an energy" in fails("test", model_file, structures)
    assert "'nonsense'" in fails("test", model_file, labelled, "--by", "nonsense")
    assert "no folder" in fails("test", model_file, labelled, "--json", tmp_path / "nowhere" / "e.json")
    assert "no such file" in fails("test", model_file, tmp_path / "absent.xyz")
    assert not list(tmp_path.glob("*.partial"))
