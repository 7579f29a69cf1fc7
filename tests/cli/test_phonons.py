"""``equinet phonons``, as a user calls it."""

import json
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from equinet.simulate import Calculator
from equinet.simulate.properties.phonons.result import PhononSettings
from equinet.simulate.structures import molecule

pytest.importorskip("phonopy", reason="phonopy is an extra")


@pytest.fixture
def diamond(tmp_path):
    """No forces by symmetry, but stress."""
    path = tmp_path / "diamond.extxyz"
    ase.io.write(path, bulk("Si", a=5.7))
    return path


def test_phonons_of_a_crystal(run, model_file, diamond, tmp_path):
    folder = tmp_path / "out"
    code, out, err = run(
        "phonons", model_file, diamond, "--allow-stress", "--supercell", 2, 2, 2, "--method", "hessian", "-o", folder
    )
    assert code == 0
    assert out.startswith("Si2, Fd-3m: supercells of 16 atoms\n")
    for line in ("acoustic sum rule before symmetrising: residual", "at Gamma: ", "Hessian against displacements: "):
        assert line in out
    found = json.loads((folder / "phonons.json").read_text())
    assert found["settings"]["supercell"] == [2, 2, 2]
    assert found["settings"]["max_atoms"] == PhononSettings.max_atoms
    assert found["settings"]["dtype"] == "float64"
    assert len(found["settings"]["model_sha256"]) == 64
    assert f"imaginary modes: {len(found['results']['imaginary']) or 'none'}" in out
    assert ("equinet: warning: imaginary modes" in err) == bool(found["results"]["imaginary"])
    assert {path.name for path in folder.iterdir()} == {"phonons.json", "phonons.png", "phonopy_params.yaml"}


def test_phonons_of_a_molecule(run, model_file, tmp_path):
    path, folder = tmp_path / "molecule.extxyz", tmp_path / "out"
    ase.io.write(path, molecule([14], 2))
    code, out, _ = run("phonons", model_file, path, "--relax", "positions", "-o", folder)
    assert code == 0
    found = json.loads((folder / "normal_modes.json").read_text())["results"]
    assert len(found["frequencies_inverse_cm"]) == 15
    assert found["method"] == "hessian"
    assert "7 atoms" not in out
    assert out.startswith("Si7, not linear: 15 modes, cm^-1:\n")
    assert min(found["frequencies_inverse_cm"]) > 0
    assert max(np.abs(found["rigid_inverse_cm"])) < 1


def test_what_is_refused_takes_one_line(fails, model_file, crystal, diamond, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    assert f"{crystal} is not at a minimum" in fails("phonons", model_file, crystal, "-o", folder)
    assert f"{diamond} is under stress" in fails("phonons", model_file, diamond, "-o", folder)
    path = tmp_path / "molecule.extxyz"
    ase.io.write(path, molecule([14], 2))
    assert "no --supercell" in fails("phonons", model_file, path, "--supercell", 2, 2, 2, "-o", folder)
    sheet = bulk("Si", a=5.7, cubic=True)
    sheet.pbc = (True, True, False)
    sheet.center(5.0, axis=2)
    ase.io.write(path, sheet)
    assert "is not at a minimum" in fails("phonons", model_file, path, "-o", folder)
    relax = ("phonons", model_file, path, "--relax", "positions", "-o", folder)
    assert f"{path} is under tension" in fails(*relax)
    monkeypatch.setitem(sys.modules, "phonopy", None)
    assert "pip install 'equinet-mlip[properties]'" in fails("phonons", model_file, diamond, "-o", folder)


def test_defaults_are_those_of_the_function(run, model_file, diamond, tmp_path, monkeypatch):
    seen = []

    def record(atoms, calculator, settings, on_supercell):
        assert isinstance(calculator, Calculator)
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("equinet.simulate.properties.phonons.calculation.phonons", record)
    assert run("phonons", model_file, diamond, "--allow-stress", "-o", tmp_path / "out")[0] == 130
    assert seen == [PhononSettings()]
