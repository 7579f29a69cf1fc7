"""The verbs, on a crystal of a drawn network with ZBL: it has a minimum, and a second is enough."""

import json

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from equinet import Calculator
from equinet.cli.main import main
from equinet.models import NequIPArchitecture, Potential, save_model
from equinet.simulate.properties import starting_structure
from equinet.simulate.properties.eos import EosSettings, equation_of_state


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    potential = Potential(
        NequIPArchitecture(cutoff=4.0, layers=1, l_max=1, channels=4, mean_neighbors=12.0),
        species=[6, 14],
        isolated_energies=[-3.0, -5.0],
        scale=3.0,
        shift=-4.0,
        zbl=True,
        dtype=torch.float64,
    ).eval()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(potential, path)
    return path


@pytest.fixture(scope="module")
def crystal(model, tmp_path_factory):
    """Face-centred, conventional, at its minimum."""
    path = tmp_path_factory.mktemp("crystal") / "crystal.extxyz"
    ase.io.write(path, starting_structure(bulk("Si", "fcc", a=4.5, cubic=True), Calculator(model), "cell"))
    return path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def report(folder, name):
    """The results; beside them every figure must be a picture."""
    content = json.loads((folder / f"{name}.json").read_text())
    assert content["property"] == name
    assert len(content["settings"]["model_sha256"]) == 64
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    return content["results"]


def test_eos_relaxes_and_writes_numbers_and_a_figure(run, model, tmp_path):
    start = tmp_path / "start.extxyz"
    ase.io.write(start, bulk("Si", "fcc", a=4.3))
    code, out, err = run("eos", model, start, "--relax", "cell", "--vinet", "--points", "7", "-o", tmp_path / "eos")
    assert (code, err) == (0, "")
    results = report(tmp_path / "eos", "eos")
    atoms = starting_structure(bulk("Si", "fcc", a=4.3), Calculator(model), "cell")
    expected = equation_of_state(atoms, Calculator(model), EosSettings(points=7))
    assert results["fits"][0]["bulk_modulus_gpa"] == pytest.approx(expected.fits[0].bulk_modulus_gpa, rel=1e-4)
    assert [fit["form"] for fit in results["fits"]] == ["birch-murnaghan", "vinet"]
    assert results["pressure_mismatch_gpa"] < 0.01
    assert f"B0 {expected.fits[0].bulk_modulus_gpa:.1f}"[:-1] in out
    assert (tmp_path / "eos" / "eos.png").is_file()


def test_elastic_agrees_with_the_equation_of_state(run, model, crystal, tmp_path):
    assert run("elastic", model, crystal, "-o", tmp_path / "elastic")[0] == 0
    assert run("eos", model, crystal, "--range", "0.02", "-o", tmp_path / "eos")[0] == 0
    elastic = report(tmp_path / "elastic", "elastic")
    eos = report(tmp_path / "eos", "eos")
    bulk_modulus = elastic["relaxed_ion"]["moduli"]["bulk_hill_gpa"]
    assert bulk_modulus == pytest.approx(eos["local_bulk_modulus_gpa"], rel=2e-3)
    assert np.shape(elastic["clamped_ion"]["stiffness_gpa"]) == (6, 6)
    assert elastic["voigt_order"] == ["xx", "yy", "zz", "yz", "xz", "xy"]


def test_elastic_can_leave_ions_where_they_are(run, model, crystal, tmp_path):
    code, out, _ = run("elastic", model, crystal, "--no-relax-ions", "-o", tmp_path / "elastic")
    assert code == 0
    assert report(tmp_path / "elastic", "elastic")["relaxed_ion"] is None
    assert "relaxed ions" not in out


def test_vacancy_and_surface(run, model, crystal, tmp_path):
    code, out, _ = run("vacancy", model, crystal, "--lengths", "8", "-o", tmp_path / "vacancy")
    assert code == 0
    (vacancy,) = report(tmp_path / "vacancy", "vacancy")["vacancies"]
    assert vacancy["relaxed_ev"] <= vacancy["unrelaxed_ev"]
    assert f"{vacancy['relaxed_ev']:.4f}" in out
    code, out, _ = run("surface", model, crystal, "--miller", "1", "1", "1", "-o", tmp_path / "surface")
    assert code == 0
    surface = report(tmp_path / "surface", "surface")
    assert surface["converged"]
    assert surface["miller"] == [1, 1, 1]
    assert f"{surface['relaxed_j_per_m2']:.4f} J/m^2" in out


def test_references_are_numbers_or_crystals(run, model, crystal, tmp_path):
    arguments = ("vacancy", model, crystal, "--lengths", "5", "-o", tmp_path / "vacancy", "--reference")
    code, _, err = run(*arguments, "Si=-7.5")
    assert code == 0
    assert "warning: the chemical potential of Si is -7.5000 eV, as given, instead of the crystal's own" in err
    given = report(tmp_path / "vacancy", "vacancy")
    assert given["chemical_potentials_ev"] == {"Si": -7.5}
    code, _, err = run(*arguments, f"Si={crystal}")
    assert (code, err) == (0, "")  # the same phase
    own = report(tmp_path / "vacancy", "vacancy")
    relaxed = starting_structure(ase.io.read(crystal), Calculator(model))
    assert own["chemical_potentials_ev"]["Si"] == pytest.approx(relaxed.get_potential_energy() / 4, abs=1e-6)
    shift = own["chemical_potentials_ev"]["Si"] + 7.5
    assert own["formation_energies_ev"]["0"] - given["formation_energies_ev"]["0"] == pytest.approx(shift, abs=1e-5)
    for wrong, says in (
        (["Si"], "neither"),
        (["=-7.5"], "neither"),
        ([f"C={crystal}"], "no crystal of C alone"),
        (["Si=-7.5", "Zz=3"], "'Zz', which is not in Si4"),
        (["C=-9.1"], "'C', which is not in Si4"),
        (["Si=nan"], "a chemical potential of nan eV for Si"),
        (["Si=-7.5", "Si=-7.6"], "Si is given twice"),
    ):
        code, _, err = run(*arguments, *wrong)
        assert code == 1
        assert says in err


def test_scan_of_pairs_and_a_crystal(run, model, crystal, tmp_path):
    folder = tmp_path / "scan"
    code, out, _ = run("scan", model, "--structure", crystal, "--points", "9", "--step", "0.5", "-o", folder)
    assert code == 0
    results = report(folder, "scan")
    assert [curve["elements"] for curve in results["dimers"]] == [["Si", "Si"]]
    assert results["dimers"][0]["distances_a"][-1] == 4.0
    assert len(results["volumes"]["volumes"]) == 9
    settings = json.loads((folder / "scan.json").read_text())["settings"]
    assert (settings["frame"], settings["volumes"], settings["points"]) == ("-1", [0.5, 2.0], 9)
    assert "Si-Si: no flag" in out
    assert {path.name for path in folder.iterdir()} == {"scan.json", "dimers.png", "volumes.png"}
    assert run("scan", model, "--step", "0.5", "-o", folder)[0] == 0
    assert len(report(folder, "scan")["dimers"]) == 3  # of all that the model knows


@pytest.mark.parametrize(
    ("verb", "options", "says"),
    [
        ("eos", ["--range", "2"], "a range of 2 makes no sense"),
        ("eos", ["--points", "3"], "5 or more"),
        ("elastic", ["--amplitudes", "0.01"], "two or more"),
        ("surface", ["--miller", "0", "0", "0"], "no plane"),
        ("surface", ["--miller", "2", "2", "0"], "common factor 2, and those of a plane have none; give 1 1 0"),
        ("vacancy", ["--site", "9"], "no atom 9 in a cell of 4"),
    ],
)
def test_options_that_make_no_sense(run, model, crystal, tmp_path, verb, options, says):
    code, out, err = run(verb, model, crystal, *options, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "options", "says"),
    [
        ("eos", ["--no-relax-ions", "--fmax", "1e-3"], "--fmax would have no effect: --no-relax-ions"),
        ("elastic", ["--no-relax-ions", "--max-steps", "9"], "--max-steps would have no effect: --no-relax-ions"),
        ("phonons", ["--supercell", "2", "2", "2", "--max-atoms", "9"], "--max-atoms would have no effect: a --superc"),
    ],
)
def test_options_without_effect_are_refused(run, model, crystal, tmp_path, verb, options, says):
    code, out, err = run(verb, model, crystal, *options, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", [["--points", "3"], ["--volumes", "0.8", "1.2"], ["--frame", "0"]])
def test_scan_without_a_structure_has_no_options_of_one(run, model, tmp_path, option):
    code, _, err = run("scan", model, *option, "-o", tmp_path / "out")
    assert code == 1
    assert f"{option[0]} would have no effect: it is for a structure; name one with --structure" in err


def test_reports_have_the_defaults_of_the_library(run, model, crystal, tmp_path):
    assert run("eos", model, crystal, "--points", "5", "-o", tmp_path)[0] == 0
    settings = json.loads((tmp_path / "eos.json").read_text())["settings"]
    assert (settings["fmax"], settings["max_steps"]) == (EosSettings.fmax, EosSettings.max_steps)


@pytest.mark.parametrize("verb", ["elastic", "vacancy", "surface"])
def test_a_crystal_under_stress_is_refused(run, model, tmp_path, verb):
    start = tmp_path / "start.extxyz"
    ase.io.write(start, bulk("Si", "fcc", a=4.3))
    code, _, err = run(verb, model, start, "-o", tmp_path / "out")
    assert code == 1
    assert "is under stress" in err
    assert "--relax cell" in err


@pytest.mark.parametrize("verb", ["eos", "elastic", "vacancy", "surface"])
def test_a_molecule_is_refused(run, model, tmp_path, verb):
    start = tmp_path / "start.extxyz"
    ase.io.write(start, molecule("Si2H6")[:2])
    code, _, err = run(verb, model, start, "--relax", "positions", "-o", tmp_path / "out")
    assert code == 1
    assert "three periodic directions" in err


def test_scan_wants_elements_that_the_model_knows(run, model, tmp_path):
    code, _, err = run("scan", model, "--species", "O", "-o", tmp_path / "out")
    assert code == 1
    assert "the model does not know 'O'; it knows C, Si" in err
