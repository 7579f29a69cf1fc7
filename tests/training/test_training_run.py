"""Whole runs of ``equinet train``, small enough to take about a second each."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from equinet.cli.main import main
from equinet.data import build_store, read_records
from equinet.files import content_sha256
from equinet.models import load_model, read_header
from equinet.training.evaluation import evaluate
from equinet.training.run_directory import RunDirectory, read_metrics


def train(config, *options):
    return main(["train", "--config", str(config), *map(str, options)])


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "tiny"


def test_a_run_leaves_everything_it_promises(tiny_config, run, copper_file, capsys):
    assert train(tiny_config, "--model.optimizer.lr", 0.02) == 0
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "model.safetensors",
        "provenance.json",
        "split.json",
        "training.json",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["optimizer"]["lr"] == 0.02
    assert config["run_dir"] == str(run)

    rows = read_metrics(run / "metrics.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    assert rows[-1]["val/loss"] < rows[0]["val/loss"]

    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (12, 4)
    assert not set(split["train"]) & set(split["val"])

    # the model is the one that was validated: same errors on the validation frames
    potential = load_model(run / "model.safetensors")
    validation = [record for record in read_records(copper_file) if record.source in split["val"]]
    best = min(rows, key=lambda row: row["val/loss"])
    errors = evaluate(potential, validation).errors
    for name in ("energy_mae_mev_per_atom", "force_rmse_mev_per_angstrom", "stress_mae_gpa"):
        assert errors[name] == pytest.approx(best[f"val/{name}"], rel=1e-9)

    provenance = read_header(run / "model.safetensors")["provenance"]
    assert provenance["data"]["train"]["file"] == str(copper_file)
    assert len(provenance["data"]["train"]["sha256"]) == 64
    assert provenance["statistics"]["species"] == [29]
    assert provenance["config"]["model"]["optimizer"]["lr"] == 0.02
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["training"]["val/loss"] == best["val/loss"]

    environment = json.loads((run / "provenance.json").read_text())["environment"]
    assert f"torch=={torch.__version__}" in environment["packages"]

    summary = json.loads((run / "training.json").read_text())
    assert summary["seconds"] > 0
    assert summary["steps"] == 16
    assert summary["best"]["val/loss"] == best["val/loss"]
    output = capsys.readouterr().out
    assert "F meV/A" in output
    assert len([line for line in output.splitlines() if line.lstrip().startswith(("1 ", "2 ", "3 ", "4 "))]) == 4
    assert output.splitlines()[-1] == f"model: {run}/model.safetensors"


CONFIGS = Path(__file__).parents[2] / "configs"


OTHERWISE = {  # what a small file and a small cutoff do not allow
    "rmd17_50": ("--data.n_train", 8),
    "universal": ("--model.architecture.xplor_onset", 2.5, "--data.num_workers", 0, "--data.val_fraction", 0.1),
}


@pytest.mark.parametrize(
    "name", ["quickstart", "molecule", "rmd17_50", "mlearn", "alloy", "zeolite", "water", "universal"]
)
def test_shipped_configurations_run_on_other_data(name, copper_file, tmp_path):
    small = ("--model.architecture.channels", 2, "--model.architecture.cutoff", 3.2, "--trainer.max_epochs", 1)
    options = ("--data.train_path", copper_file, "--run_dir", tmp_path / name, *small, *OTHERWISE.get(name, ()))
    assert train(CONFIGS / f"{name}.yaml", *options) == 0
    assert read_header(tmp_path / name / "model.safetensors")["species"] == [29]


def test_a_second_run_does_not_touch_the_first(tiny_config, run):
    assert train(tiny_config, "--trainer.max_epochs", 1) == 0
    before = (run / "model.safetensors").read_bytes()
    assert train(tiny_config, "--trainer.max_epochs", 1, "--seed", 1) == 0
    assert (run / "model.safetensors").read_bytes() == before
    assert (run.parent / "tiny-2" / "model.safetensors").read_bytes() != before


def test_the_same_seed_gives_the_same_bits(tiny_config, run):
    for _ in range(2):
        assert train(tiny_config, "--trainer.max_epochs", 2) == 0
    first, second = (load_model(run.parent / name / "model.safetensors") for name in ("tiny", "tiny-2"))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_it_learns(tiny_config, run):
    options = ("--trainer.max_epochs", 15, "--model.optimizer.lr", 0.05, "--model.schedule.warmup_steps", 5)
    assert train(tiny_config, *options, "--model.architecture.channels", 4) == 0
    rows = read_metrics(run / "metrics.csv")
    assert min(row["val/loss"] for row in rows) < 0.5 * rows[0]["val/loss"]


@pytest.mark.parametrize("options", [(), ("--model.ema_decay", "null"), ("--model.schedule.name", "plateau")])
def test_frames_may_lack_labels(tiny_config, mixed_file, run, options):
    data = ("--data.train_path", mixed_file, "--data.val_path", mixed_file)
    assert train(tiny_config, *data, "--trainer.max_epochs", 2, *options) == 0
    rows = read_metrics(run / "metrics.csv")
    assert all(np.isfinite(value) for row in rows for value in row.values())


def test_validation_needs_a_label_that_counts(tiny_config, copper_file, run, tmp_path, capsys):
    """Else its loss is zero in every epoch, and the first one would be the best."""
    frames = read(copper_file, ":4")
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    write(tmp_path / "energies.extxyz", frames)
    options = ("--data.val_path", tmp_path / "energies.extxyz", "--model.loss.stress", 0)
    assert train(tiny_config, *options, "--model.loss.energy", 0) == 1
    assert "no frame to validate on has forces, the labels that model.loss gives a weight" in capsys.readouterr().err
    assert not run.exists()
    assert train(tiny_config, *options, "--trainer.max_epochs", 1) == 0
    assert "warning: no frame to validate on has forces, which is trained" in capsys.readouterr().err


def test_validation_on_the_training_file_is_said(tiny_config, copper_file, capsys):
    assert train(tiny_config, "--data.val_path", copper_file, "--trainer.max_steps", 1) == 0
    assert "validation is on the training file itself: errors of unseen structures" in capsys.readouterr().out


def test_max_steps_ends_within_an_epoch_with_the_learning_rate_at_zero(tiny_config, run):
    assert train(tiny_config, "--trainer.max_steps", 6) == 0
    rows = read_metrics(run / "metrics.csv")
    assert [row["step"] for row in rows] == [4, 6]
    assert rows[-1]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_early_stopping(tiny_config, run):
    tiny_config.write_text(
        tiny_config.read_text()
        + """  callbacks:
    - class_path: EarlyStopping
      init_args: {monitor: val/loss, patience: 1}
"""
    )
    assert train(tiny_config, "--trainer.max_epochs", 50, "--model.optimizer.lr", 3.0) == 0
    assert len(read_metrics(run / "metrics.csv")) < 50


def test_gradient_clipping_reaches_the_optimiser(tiny_config, run):
    assert train(tiny_config, "--trainer.max_epochs", 1) == 0
    assert train(tiny_config, "--trainer.max_epochs", 1, "--trainer.gradient_clip_val", 1e-3) == 0
    first, second = (read_metrics(run.parent / name / "metrics.csv")[0]["val/loss"] for name in ("tiny", "tiny-2"))
    assert first != second


def test_a_loss_that_is_not_finite_names_the_structures(tiny_config, run, capsys):
    status = train(tiny_config, "--model.optimizer.lr", 1e30, "--model.schedule.name", "constant")
    error = capsys.readouterr().err
    assert status == 1
    assert error.count("\n") == 1
    assert "the loss is not finite at step 1 (epoch 0; energy and forces and stress)" in error
    assert error.count("copper.extxyz frame ") == 3
    (written,) = run.iterdir()
    frames = read_records(written)
    assert all(frame.info["source"] in error for frame in frames)
    assert all(frame.energy is not None and frame.forces is not None and frame.virial is not None for frame in frames)


def test_tensorboard_and_wandb_offline(tiny_config, run, monkeypatch):
    """Two parts of one run: at wandb they have one identity."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = ("--loggers", "[tensorboard, wandb]", "--model.schedule.name", "constant", "--resume", "auto")
    assert train(tiny_config, *options, "--trainer.max_epochs", 1) == 0
    assert train(tiny_config, *options, "--trainer.max_epochs", 2) == 0
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    logs = list((run / "wandb").glob("offline-run-*/run-*.wandb"))
    identities = {log.stem.removeprefix("run-") for log in logs}
    assert identities == {RunDirectory(run).wandb_id()}
    deadline = time.monotonic() + 20.0  # the file is written by a process of wandb's, a little later
    while not all(b"val/force_mae_mev_per_angstrom" in log.read_bytes() for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with open(run / "metrics.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_a_sample_is_overridden_by_a_file(tiny_config, copper_file, run):
    config = yaml.safe_load(tiny_config.read_text())
    config["data"] = {"sample": "glycol", "batch_size": 3}
    tiny_config.write_text(yaml.safe_dump(config))
    assert train(tiny_config, "--data.train_path", copper_file, "--trainer.max_epochs", 1) == 0
    provenance = json.loads((run / "provenance.json").read_text())
    assert list(provenance["data"]) == ["train"]
    assert provenance["data"]["train"]["file"] == str(copper_file)


def test_a_store_trains_as_its_file_does(tiny_config, copper_file, run, tmp_path):
    """The same frames, read from disk one by one, in workers, in batches filled up to a budget."""
    build_store([copper_file], tmp_path / "STORE")
    options = ("--data.batch_size", "null", "--data.max_edges", 150, "--trainer.max_epochs", 2)
    assert train(tiny_config, *options) == 0
    workers = ("--data.train_path", tmp_path / "STORE", "--data.num_workers", 1)
    assert train(tiny_config, *options, *workers, "--run_dir", run.parent / "store") == 0
    file, store = load_model(run / "model.safetensors"), load_model(run.parent / "store" / "model.safetensors")
    for (name, a), b in zip(file.state_dict().items(), store.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    split = json.loads((run.parent / "store" / "split.json").read_text())
    assert (split["train"]["frames"], split["val"]["frames"]) == (12, 4)


def test_a_store_that_is_damaged_is_not_trained_on(tiny_config, copper_file, run, tmp_path, capsys):
    """Where only its checksum tells: the structures can be read."""
    store = tmp_path / "STORE"
    build_store([copper_file], store)
    shard = next(store.glob("shard-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert train(tiny_config, "--data.train_path", store) == 1
    assert f"wrong checksum of {shard.name}: damaged after writing" in capsys.readouterr().err
    assert not run.exists()


def test_a_folder_of_deepmd_kit_is_trained_on(tiny_config, run, copper_file, tmp_path, capsys):
    frames = read(copper_file, ":")
    folder = tmp_path / "system"
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n" * len(frames[0]))
    (folder / "type_map.raw").write_text("Cu\n")
    arrays = {
        "coord": [atoms.positions.ravel() for atoms in frames],
        "box": [atoms.cell.array.ravel() for atoms in frames],
        "energy": [atoms.get_potential_energy() for atoms in frames],
        "force": [atoms.get_forces().ravel() for atoms in frames],
        "virial": [-atoms.get_volume() * atoms.get_stress(voigt=False).ravel() for atoms in frames],
    }
    for name, values in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", values)
    options = ("--data.train_path", folder, "--trainer.max_epochs", 1)
    assert train(tiny_config, *options) == 0
    assert "units: eV, Angstrom; virial in eV" in capsys.readouterr().out
    digest = json.loads((run / "provenance.json").read_text())["data"]["train"]["sha256"]
    assert digest == content_sha256(folder)
    assert main(["test", str(run / "model.safetensors"), str(folder), "--json", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["data"]["sha256"] == digest

    np.save(folder / "set.000" / "energy.npy", np.array(arrays["energy"]) + 1.0)
    assert train(tiny_config, *options, "--ckpt_path", run / "checkpoints" / "last.ckpt") == 1
    assert "is not the train file this run began with" in capsys.readouterr().err
