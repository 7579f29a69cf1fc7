"""Rows of the accuracy script: errors by group, held-out frames, and a whole row trained, killed and taken up again."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import ase.build
import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.accuracy import measure as measuring
from benchmarks.accuracy.errors import energy_differences, is_moving, summarize, with_group
from benchmarks.accuracy.prepare import hold_out, prepare
from benchmarks.accuracy.rows import ROWS, Comparison, Row
from benchmarks.accuracy.tables import overview, row_page, spread
from equinet.data import Record
from equinet.errors import InputError
from equinet.training.evaluation import FramePrediction


def frame(group: str, error: float, force: float = 1.0, atoms: int = 2) -> FramePrediction:
    """A frame whose energy is wrong by ``error`` eV an atom and whose forces by 0.1 eV/A."""
    forces = np.full((atoms, 3), force)
    record = Record(
        np.full(atoms, 14), np.arange(3.0 * atoms).reshape(-1, 3), np.zeros((3, 3)), np.zeros(3, dtype=bool),
        energy=5.0, forces=forces, info={"group": group},
    )  # fmt: skip
    return FramePrediction(with_group(record, "group"), 5.0 + error * atoms, forces + 0.1, None)


def test_energy_differences_forget_each_groups_shift():
    frames = [frame("a", 0.010), frame("a", 0.012), frame("b", -0.300), frame("b", -0.304), frame("alone", 7.0)]
    found = energy_differences(frames)
    assert found["energy_difference_frames"] == 4
    # deviations of 1 and 2 meV, times sqrt(2) for the one difference that two frames have
    assert found["energy_difference_mae_mev_per_atom"] == pytest.approx(np.sqrt(2) * 1.5)
    assert found["energy_difference_rmse_mev_per_atom"] == pytest.approx(np.sqrt(2) * np.sqrt(2.5))


def test_the_headline_leaves_out_strained_and_symmetric_frames():
    frames = [frame("md", 0.0), frame("md", 0.1), frame("Elastic", 0.2), frame("md", 0.0, force=0.0)]
    assert [is_moving(each.record, ("Elastic",)) for each in frames] == [True, True, False, False]
    values = summarize(frames, ("Elastic",))
    assert values["frames"] == 4
    assert values["moving"]["frames"] == 2
    assert set(values["groups"]) == {"md", "Elastic", "md, zero forces"}
    assert values["moving"]["force_mae_mev_per_angstrom"] == pytest.approx(100.0)
    assert summarize([], ()) == {"frames": 0}


def test_every_nth_frame_of_each_group_is_held_out():
    frames = [Atoms(info={"group": group, "number": i}) for i, group in enumerate("aaaabbbbbbaa")]
    kept, held_out = hold_out(frames, "group", 3)
    assert [each.info["number"] for each in held_out] == [1, 5, 8, 10]
    assert len(kept) == 8
    assert hold_out(frames, "group", None) == (frames, [])


def test_rows_name_their_files_once_and_configurations_exist():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert (measuring.ROOT / row.config).is_file(), row.config
        assert (row.hold_out is not None) == any(test.file is None for test in row.tests)


def test_spread_says_mean_least_and_largest():
    assert spread([2.0]) == "2"
    assert spread([1.0, None, 3.0]) == "2 (1 to 3)"
    assert spread([1339.6]) == "1340"
    assert spread([None]) == ""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data folder with rattled copper, two of its test frames copies of training frames; a tiny configuration."""
    folder = tmp_path_factory.mktemp("data")
    frames = []
    for seed in range(20):
        atoms = ase.build.bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["group"] = "md"
        frames.append(atoms)
    ase.io.write(folder / "train.extxyz", frames[:16])
    ase.io.write(folder / "test.extxyz", frames[14:])
    configuration = {
        "model": {"architecture": {"cutoff": 3.0, "layers": 1, "l_max": 1, "channels": 4, "parity": "natural"}},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(configuration))
    row = Row(
        "copper",
        "copper",
        str(folder / "tiny.yaml"),
        "train.extxyz",
        (Comparison("test", "test.extxyz"),),
        group="group",
    )
    return row, measuring.Settings(folder, folder / "runs")


def test_a_row_is_trained_tested_and_not_repeated(world):
    row, settings = world
    values = measuring.measure(row, 1, settings)
    assert values["train_frames"] == 14
    assert values["validation_frames"] == 2
    assert str(settings.data) not in json.dumps({k: v for k, v in values.items() if k != "config"}).replace(
        row.config, ""
    )
    test = values["tests"]["test"]
    # of the two frames that are in the training file too, those count that were not set aside for validation
    split = json.loads((settings.runs / "copper" / "seed-1" / "split.json").read_text())
    copies = sum(source.endswith(("frame 14", "frame 15")) for source in split["train"])
    assert test["twins"]["twins"] == copies
    assert test["without_twins"]["frames"] == 6 - copies
    assert test["copy_of_nearest"]["all"]["energy_mae_mev"] >= 0.0
    model = settings.runs / "copper" / "seed-1" / "model.safetensors"
    before = model.stat().st_mtime_ns
    again = measuring.measure(row, 1, settings)
    assert model.stat().st_mtime_ns == before
    assert again["tests"] == values["tests"]
    page = row_page(row, [values, again])
    assert "| equinet, without twins |" in page
    assert "| copper" not in page
    assert "[copper](copper.md)" in overview({row: [values]})
    with pytest.raises(InputError, match="other settings"):
        measuring.measure(row, 1, replace(settings, epochs=9))


def test_a_run_that_was_killed_goes_on(world):
    row, settings = world
    settings = replace(settings, epochs=20)
    files = prepare(row, settings.data, settings.runs)
    run = measuring.RunDirectory(settings.runs / "copper" / "seed-7")
    command = measuring.training_command(row, 7, files, run, settings)
    plan = {"command": command[3:], "config": measuring.sha256(measuring.ROOT / row.config)}
    run.path.parent.mkdir(parents=True, exist_ok=True)
    run.path.with_name("seed-7.json").write_text(json.dumps(plan))
    process = subprocess.Popen(command, cwd=measuring.ROOT, stdout=subprocess.DEVNULL)
    while not run.last.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not run.training.exists()
    measuring.train(command, run, row)
    assert json.loads(run.training.read_text())["epochs"] == 20
    assert not run.path.with_name("seed-7-2").exists()


def test_the_script_lists_rows_and_refuses_unknown_ones():
    script = [sys.executable, str(measuring.ROOT / "scripts" / "accuracy.py")]
    listed = subprocess.run([*script, "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [row.name for row in ROWS]
    refused = subprocess.run([*script, "--only", "unobtainium"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "there is no row unobtainium" in refused.stderr
