"""``equinet test --report`` and what follows from it: ``equinet info --card``."""

import json
import re

import ase.io
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.files import sha256
from equinet.models import NequIPArchitecture, Potential, load_model, save_model
from equinet.simulate import Calculator
from equinet.simulate.structures import bulk, molecule
from tests.simulate.conftest import small_potential
from tests.training.report_pages import Page


def frame(calc, atoms, kind, force_error):
    """Labels that differ from the model's answers by known amounts."""
    energy, forces = calc.get_property("energy", atoms), calc.get_property("forces", atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=energy + 0.010 * len(atoms), forces=forces - force_error)
    atoms.info["kind"] = kind
    return atoms


@pytest.fixture
def run_folder(tmp_path):
    """A model in a folder of its own, and two files of labelled structures."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    save_model(small_potential(), folder / "model.safetensors")
    calc = Calculator(folder / "model.safetensors")
    ase.io.write(
        folder / "crystals.extxyz",
        [frame(calc, bulk([6, 14], n), "calm", 0.020) for n in range(4)] + [frame(calc, bulk([14], 9), "wild", 0.200)],
    )
    ase.io.write(folder / "molecules.extxyz", [frame(calc, molecule([6, 14], n), "calm", 0.050) for n in range(2)])
    return folder


def test_several_files_are_data_sets(run, run_folder):
    files = [run_folder / "crystals.extxyz", run_folder / "molecules.extxyz"]
    command = ["test", run_folder / "model.safetensors", *files, "--report", run_folder / "report", "--worst", 2]
    code, out, err = run(*command, "--json", run_folder / "e.json")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"report: {run_folder}/report/index.html"
    assert out.splitlines()[0].endswith("crystals.extxyz: 5 frames")
    assert "on all 2 data sets: 7 frames" in out
    errors = json.loads((run_folder / "e.json").read_text())
    assert errors | {"date": ""} == json.loads((run_folder / "report" / "errors.json").read_text()) | {"date": ""}
    molecules = errors["data_sets"]["molecules"]
    assert molecules["force_mae_mev_per_angstrom"] == pytest.approx(50.0, abs=1e-3)
    assert molecules["data"]["frames"] == 2
    assert errors["frames"] == 7
    assert errors["energy_mae_mev_per_atom"] == pytest.approx(10.0, abs=1e-3)
    page = Page((run_folder / "report" / "index.html").read_text(encoding="utf-8"))
    assert page.errors("molecules")[2][0] == molecules["force_mae_mev_per_angstrom"]
    worst = ase.io.read(run_folder / "report" / "worst.extxyz", ":")
    assert worst[0].info["kind"] == "wild"
    assert worst[0].info["data_set"] == "crystals"
    assert worst[0].info["force_rmse_mev_per_angstrom"] == pytest.approx(200.0, abs=1e-3)


def test_a_run_s_learning_curve_is_on_the_page(run, run_folder):
    rows = ["epoch,train/loss,val/loss"] + [f"{epoch},{2 / (epoch + 1)},{3 / (epoch + 1)}" for epoch in range(3)]
    (run_folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    command = ["test", run_folder / "model.safetensors", run_folder / "molecules.extxyz", "--report", run_folder / "r"]
    assert run(*command)[0] == 0
    assert (run_folder / "r" / "learning_curve.png").is_file()


def test_card_has_the_errors_of_this_very_file(run, run_folder):
    model = run_folder / "model.safetensors"
    command = ["test", model, run_folder / "crystals.extxyz", "--by", "kind", "--report", run_folder / "report"]
    assert run("info", model, "--card")[1].count("On test data: not recorded") == 1
    assert run(*command)[0] == 0
    code, card, err = run("info", model, "--card")
    assert (code, err) == (0, "")
    row = next(line for line in card.splitlines() if line.startswith("| crystals.extxyz | wild |"))
    assert row.split("|")[6].split() == ["200"]
    assert "Forces of wild in crystals.extxyz are" in card

    save_model(small_potential(), run_folder / "other.safetensors")  # the same numbers
    assert "crystals.extxyz" in run("info", run_folder / "other.safetensors", "--card")[1]
    changed = small_potential()
    changed.scale.mul_(2.0)
    save_model(changed, run_folder / "other.safetensors")
    assert "On test data: not recorded" in run("info", run_folder / "other.safetensors", "--card")[1]
    code, _, err = run("info", run_folder / "other.safetensors", "--card", "--tests", run_folder / "report")
    assert code == 1
    assert "is a test of another model file" in err


def test_card_goes_into_a_file_that_a_hub_reads(run, run_folder):
    model, card = run_folder / "model.safetensors", run_folder / "README.md"
    code, out, _ = run("info", model, "--card", "-o", card)
    assert (code, out) == (0, f"model card: {card}\n")
    front, body = re.fullmatch(r"---\n(.*?)---\n(.*)", card.read_text(), flags=re.DOTALL).groups()
    assert yaml.safe_load(front)["library_name"] == "equinet"
    assert yaml.safe_load(front)["license"] == "unknown"
    assert "\n# mine\n" in body
    assert re.findall(r"^## (.*)$", body, flags=re.MULTILINE) == [
        "Data",
        "Errors",
        "Training",
        "Known failures and limits",
        "Licence",
        "Citation",
    ]


def test_errors(run, fails, run_folder):
    model, data = run_folder / "model.safetensors", run_folder / "crystals.extxyz"
    assert "given twice" in fails("test", model, data, data)
    assert "no such file" in fails("test", model, run_folder / "absent.xyz", "--report", run_folder / "new")
    assert not (run_folder / "new").exists()
    assert "cannot make the folder" in fails("test", model, data, "--report", data / "below")
    assert "no file of errors" in fails("info", model, "--card", "--tests", run_folder / "nowhere.json")
    assert "no model file" in fails("info", run_folder / "absent.safetensors", "--card")
    assert "no folder" in fails("info", model, "--card", "-o", run_folder / "nowhere" / "card.md")
    assert run("info", model, "-o", run_folder / "card.md")[0] == 2
    assert run("test", model, data, "--worst", "0", "--report", run_folder / "r")[0] == 2


def test_card_of_several_levels_of_theory(run, tmp_path):
    potential = Potential(
        NequIPArchitecture(cutoff=3.0, layers=1, l_max=0, channels=2, mean_neighbors=1.0, modals=["PBE", "R2SCAN"]),
        species=[1],
        isolated_energies=[[-1.0], [-2.0]],
        scale=1.0,
        provenance={
            "level_of_theory": "PBE and r2SCAN, VASP",
            "statistics": {
                "species": [1],
                "of_modals": [
                    {"modal": "PBE", "frames": 5, "frames_with_stress": 0, "undetermined": [1]},
                    {"modal": "R2SCAN", "frames": 9, "frames_with_stress": 4, "isolated_energies_source": "x"},
                ],
                "frames_per_species": [14],
                "shortest_distance": 0.62,
            },
            "training": {"epoch": 2, "step": 30, "val/energy_mae_mev_per_atom": 1.5},
        },
    )
    save_model(potential, tmp_path / "two.safetensors")
    (tmp_path / "training.json").write_text(json.dumps({"epochs": 3, "best": potential.provenance["training"]}))
    card = run("info", tmp_path / "two.safetensors", "--card")[1]
    for line in (
        "Level of theory: PBE and r2SCAN, VASP (provenance of the model file).",
        "| H | 14 | -1.000000 | -2.000000 |",
        "| Energy MAE | 1.5 meV/atom |",
        "| Epochs, steps | epochs 3 |",
        "- Few training frames have H (14).",
        "- No training frame of PBE has a stress label: what it says of them was never fitted.",
        "- Only 4 of 9 training frames of R2SCAN have a stress label.",
        "- The validation loss was lowest at the last of 3 epochs: longer training may have gone lower.",
    ):
        assert line in card.splitlines()
    assert "below 0.62 Å, the shortest distance in the training data" in card
    assert "isolated atoms' energies of H" in card
    (tmp_path / "training.json").write_text(json.dumps({"epochs": 9, "best": {"epoch": 7}}))  # of another run
    assert "epochs 9" not in run("info", tmp_path / "two.safetensors", "--card")[1]


def test_card_of_a_fine_tuned_model_tells_what_is_of_its_parents(run, tmp_path):
    """Licence, origin, paper and what the parent knew: without them the card would be false, not only short."""
    imported = {
        "imported_from": "SevenNet",
        "licence": "MIT, (c) Somebody",
        "citation": "Park et al., doi:10.1021/acs.jctc.4c00190",
    }
    oxides = {
        "parent": {"file": "/far/7net-0.safetensors", "sha256": "aa11", "provenance": imported},
        "data": {"train": {"file": "oxides.extxyz", "sha256": "0ff1"}},
        "statistics": {"species": [8, 14], "frames_per_species": [40, 30], "frames": 40, "shortest_distance": 1.1},
    }
    provenance = {
        "parent": {"file": "runs/oxides/model.safetensors", "sha256": "bb22", "provenance": oxides},
        "replay": {"file": "old.extxyz", "sha256": "cc33", "label": "parent", "frames": 60},
        "config": {"model": {"finetune": {"refit_isolated_energies": True}}},
        "statistics": {
            "species": [14],
            "frames_per_species": [25],
            "frames": 25,
            "atoms": 50,
            "frames_with_stress": 0,
            "from_isolated": [False],
            "isolated_energies_source": "ridge regression",
            "shortest_distance": 2.3,
        },
    }
    potential = small_potential()
    potential.provenance = provenance
    path = tmp_path / "tuned.safetensors"
    save_model(potential, path)
    card = run("info", path, "--card")[1]
    lines = card.splitlines()
    assert lines[1] == "license: mit"
    for line in (
        "An interatomic potential for C, Si, fine-tuned from oxides/model.safetensors, which was "
        "fine-tuned from 7net-0.safetensors, which was imported from SevenNet.",
        "| Fine-tuned from | oxides/model.safetensors, SHA-256 bb22; trained on 40 frames of oxides.extxyz, "
        "SHA-256 0ff1 |",
        "| oxides/model.safetensors fine-tuned from | 7net-0.safetensors, SHA-256 aa11; "
        "its training data: not recorded |",
        "Fine-tuned on 25 frames with 50 atoms, and on 60 replayed frames in turn.",
        "Level of theory of the new data: not recorded.",
        "Reference energies from the parent, shifted to fit the new data.",
        "- No new training frame has a stress label: what it says of them is the parent's.",
        "MIT, (c) Somebody: the licence of 7net-0.safetensors, which it was fine-tuned from.",
    ):
        assert line in lines
    assert any(line.startswith("| replay, labels of the parent | old.extxyz | 60 |") for line in lines)
    assert any(line.startswith("| C | 0, known from the parent |") for line in lines)
    assert any(line.startswith("| Si | 25 |") for line in lines)
    assert "distances shorter than any trained on (1.10 Å where they are recorded, which the parent's are not)" in card
    assert "were regressed" not in card  # nothing is known of the first model's
    assert "without replaying" not in card
    assert "park_sevennet_2024" in card

    potential.provenance = {**provenance, "licence": "CC-BY-4.0", "replay": None}
    save_model(potential, path)
    card = run("info", path, "--card")[1]
    assert "license: cc-by-4.0" in card
    assert "\nCC-BY-4.0.\n" in card
    assert "unlike the new data (1 of 2 elements are not in them) it may have forgotten" in card
    facts = run("info", path)[1]
    assert "isolated energies from" not in facts  # they are the parent's
    assert "shortest distance" not in facts
    assert "shortest distance" in run("info", path, "--all")[1]


def test_card_says_which_test_is_none(run, run_folder):
    """Errors of the file that the model was trained on."""
    model, data = run_folder / "model.safetensors", run_folder / "crystals.extxyz"
    potential = load_model(model)
    potential.provenance = {"data": {"train": {"sha256": sha256(data)}}}
    save_model(potential, model)
    assert run("test", model, data, run_folder / "molecules.extxyz", "--report", run_folder / "report")[0] == 0
    lines = run("info", model, "--card")[1].splitlines()
    assert f"SHA-256 of crystals.extxyz: {sha256(data)}, the file that it was trained on: no test." in lines
    assert f"SHA-256 of molecules.extxyz: {sha256(run_folder / 'molecules.extxyz')}." in lines
    assert not [line for line in lines if line.startswith("| Data set") and "With" in line]
    errors = run_folder / "report" / "errors.json"
    content = json.loads(errors.read_text())
    content["data_sets"]["crystals"]["frames_with_energy"] = 2
    errors.write_text(json.dumps(content))
    lines = run("info", model, "--card")[1].splitlines()
    assert any(line.startswith("| Data set | Group | Frames | With energy | Energy MAE") for line in lines)
    assert any(line.startswith("| crystals |  | 5 | 2 |") for line in lines)


def test_strangers_models_have_cards(run, run_folder):
    """Provenance of any shape, hostile text in it."""
    potential = load_model(run_folder / "model.safetensors")
    for provenance in (
        {"data": [1], "statistics": 3, "config": "x", "training": None, "versions": [], "citation": 5},
        {"licence": "</details> <b>| free", "citation": "@article{x, y}\n```", "config": {"a": "```\n# x"}},
        {"imported_from": ["x"], "data": {"train": 5}, "statistics": {"of_modals": [], "species": None}},
        {"parent": {"file": 5, "provenance": {"parent": [], "statistics": 3, "data": 1}}, "replay": "x"},
        {
            "parent": {"file": "<b>\n## y", "reference_shifts": {}, "sha256": "|"},
            "data": {"train": {"sha256": ["<b>"]}},
        },
    ):
        potential.provenance = provenance
        save_model(potential, run_folder / "model.safetensors")
        code, card, err = run("info", run_folder / "model.safetensors", "--card")
        assert (code, err) == (0, "")
        assert "<b>" not in card
        assert len(re.findall(r"^## ", card, flags=re.MULTILINE)) == 6
        outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", card, flags=re.MULTILINE | re.DOTALL)
        assert "# x" not in outside
        assert run("cite", run_folder / "model.safetensors")[1].count("@") == 4
