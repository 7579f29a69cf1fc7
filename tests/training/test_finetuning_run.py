"""Fine-tuning through the command line: what a configuration says, what comes out, and exact resume."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from equinet.cli.main import main
from equinet.data import read_records
from equinet.files import sha256
from equinet.models import load_model, one_modal, save_model
from equinet.training.card import model_card
from equinet.training.evaluation import predict_records
from equinet.training.run_directory import RunDirectory, read_metrics
from tests.training import test_resume
from tests.training.test_finetuning import alloys, make, residuals

__all__ = ["alloys"]  # a fixture


@pytest.fixture
def parent(tmp_path):
    save_model(make(), tmp_path / "parent.safetensors")
    return tmp_path / "parent.safetensors"


@pytest.fixture
def config(tmp_path, copper_file, parent):
    path = tmp_path / "finetune.yaml"
    path.write_text(
        f"""
run_dir: {tmp_path}/runs/tuned
data: {{train_path: {copper_file}, val_fraction: 0.25, batch_size: 3}}
model:
  finetune: {{parent: {parent}}}
  optimizer: {{lr: 0.01}}
trainer: {{max_epochs: 3, accelerator: cpu, enable_progress_bar: false}}
"""
    )
    return path


def train(config, *options):
    return main(["train", "--config", str(config), *map(str, options)])


def test_it_starts_from_the_parent_and_learns(config, parent, copper_file, tmp_path, capsys):
    assert train(config, "--trainer.max_epochs", 25, "--model.optimizer.lr", 0.05) == 0
    shown = capsys.readouterr().out
    assert f"starting from {parent}, 3 elements\nE0 shifted to fit E_label - E_parent of 12 frames: Cu " in shown
    assert "E0 from ridge regression" not in shown
    run = RunDirectory(tmp_path / "runs" / "tuned")
    rows = read_metrics(run.metrics)
    assert rows[-1]["val/loss"] < 0.5 * rows[0]["val/loss"]
    # the run's configuration says what the parent decided
    written = yaml.safe_load(run.config.read_text())
    assert written["model"]["architecture"]["cutoff"] == 3.2
    assert written["model"]["architecture"]["channels"] == 2
    tuned = load_model(run.model)
    assert tuned.species == [13, 29, 79]
    assert tuned.provenance["parent"]["file"] == str(parent)
    assert np.abs(residuals(tuned, read_records(copper_file))).mean() < 0.05
    # and the run can be resumed from it
    assert train(run.config, "--trainer.max_epochs", 26, "--ckpt_path", "last") == 0


def test_the_run_records_what_was_replayed_and_shifted(config, alloys, copper_file, tmp_path):
    """And the card of its model tells it; the parent's licence is in it too."""
    parent = make()
    parent.provenance = {"licence": "MIT, (c) Somebody", "imported_from": "SevenNet"}
    save_model(parent, tmp_path / "parent.safetensors")
    options = ["--data.replay.path", alloys, "--data.replay.label", "parent", "--data.replay.ratio", 0.5]
    assert train(config, *options, "--trainer.max_epochs", 1) == 0
    run = RunDirectory(tmp_path / "runs" / "tuned")
    found = load_model(run.model).provenance
    (shift,) = found["parent"]["reference_shifts"]
    assert shift.startswith("E0 shifted to fit E_label - E_parent of 12 frames: Cu ")
    replay, frames = found["replay"], found["replay"]["frames"]
    assert (replay["sha256"], replay["label"]) == (sha256(Path(alloys)), "parent")
    assert 0 < frames == replay["frames_with_energy"] == replay["frames_with_forces"]
    card = model_card(run.model).splitlines()
    for line in (
        "license: mit",
        f"Fine-tuned on 12 frames with {found['statistics']['atoms']} atoms, and on {frames} replayed frames in turn.",
        "MIT, (c) Somebody: the licence of parent.safetensors, which it was fine-tuned from.",
        "An interatomic potential for Al, Cu, Au, fine-tuned from parent.safetensors, which was imported from "
        "SevenNet.",
    ):
        assert line in card
    assert any(
        line.startswith(f"| replay, labels of the parent | {Path(alloys).name} | {frames} | {frames} |")
        for line in card
    )
    assert any("Reference energies from the parent; E0 shifted to fit E_label - E_parent" in line for line in card)


def test_the_shipped_configuration_runs(parent, copper_file, tmp_path):
    config = Path(__file__).resolve().parents[2] / "configs" / "finetune.yaml"
    options = ["--model.finetune.parent", parent, "--data.train_path", copper_file, "--run_dir", tmp_path / "shipped"]
    assert train(config, *options, "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu") == 0
    tuned, start = (
        dict(load_model(path).named_parameters()) for path in (tmp_path / "shipped/model.safetensors", parent)
    )
    moved = {name for name in start if not torch.equal(tuned[name], start[name])}
    assert "model.last.weights.0" in moved
    assert not [name for name in moved if "radial" in name or "embedding" in name]


def test_keys_that_contradict_the_parent_are_refused(config, parent, capsys):
    for options, says in (
        (["--model.architecture.layers", 3], f"layers is 3, but the parent {parent} has 2; leave the key out"),
        (["--model.zbl", "true"], "model.zbl is True, but the parent"),
        (["--model.finetune.frezee", "[readout]"], "did you mean model.finetune.freeze?"),
        (["--model.finetune.freeze", "[readut]"], "model.finetune.freeze names 'readut', .* did you mean readout"),
        (["--model.finetune.parent", "null", "--model.finetune.lora_rank", 2], "has settings, but no parent"),
        (["--data.replay.path", "none.extxyz"], "none.extxyz: no such file"),
        (["--model.finetune.lr_factors", "{readout: 0}"], r"lr_factors.readout is 0.0; it must be above 0"),
    ):
        assert train(config, *options) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("equinet: error")]
        assert line.startswith("equinet: error: ")
        assert re.search(says, line), line
    assert train(config, "--model.architecture.layers", 2, "--trainer.max_epochs", 1) == 0  # says the same


def test_a_new_level_with_all_else_frozen_keeps_the_old_one(config, alloys, tmp_path):
    options = ["--model.finetune.new_modal", "EMT", "--model.finetune.from_modal", "old"]
    assert train(config, *options, "--model.finetune.freeze", "[embedding,layers,readout]") == 0
    tuned = load_model(tmp_path / "runs" / "tuned" / "model.safetensors")
    assert tuned.modals == ["old", "EMT"]
    old, new = one_modal(tuned, "old"), one_modal(tuned, "EMT")
    records = list(read_records(alloys))
    for one, other, third in zip(*(predict_records(p, records) for p in (make(), old, new)), strict=True):
        assert one.forces == pytest.approx(other.forces, abs=1e-6)
        assert np.abs(one.forces - third.forces).max() > 1e-4


def test_low_rank_updates_train_few_weights_and_leave_none(config, parent, tmp_path, capsys):
    options = ["--model.finetune.lora_rank", 1, "--model.finetune.freeze", "[embedding,radial]"]
    assert train(config, *options) == 0
    shown = capsys.readouterr().out
    tuned = load_model(tmp_path / "runs" / "tuned" / "model.safetensors")
    weights = dict(make().named_parameters())
    few = int(shown.split("model: ")[1].split(" parameters")[0])
    assert few < sum(weight.numel() for weight in weights.values())
    moved = {name for name, weight in tuned.named_parameters() if not torch.equal(weight, weights[name])}
    assert {name.split("weights")[0] for name in moved} == {
        f"model.layers.{layer}.{part}." for layer in (0, 1) for part in ("linear_in", "linear_out", "self_connection")
    } | {"model.last."}


def test_killed_and_resumed_is_bitwise_the_same(config, alloys, tmp_path):
    """With everything at once: low-rank updates, learning rates of parts, a new level, replay."""
    options = ["--model.finetune.lora_rank", "1", "--model.finetune.new_modal", "EMT", "--model.dtype", "float64"]
    options += ["--model.finetune.lr_factors", "{readout: 3.0, modals: 2.0}", "--model.finetune.freeze", "[embedding]"]
    options += ["--data.replay.path", alloys, "--data.replay.ratio", "0.5", "--checkpoint_every_n_steps", "1"]
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    assert train(config, *options, "--run_dir", whole.path) == 0
    here = Path(test_resume.__file__)
    path = os.pathsep.join([str(here.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(config), *options]
    command += [
        "--run_dir",
        str(broken.path),
        "--trainer.callbacks+",
        f"{here.stem}.KillAfterStep",
        "--trainer.callbacks.step",
        "7",
    ]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert train(config, *options, "--run_dir", broken.path, "--ckpt_path", "last") == 0
    test_resume.assert_same(test_resume.state(whole), test_resume.state(broken))


def test_a_run_goes_on_with_the_files_it_began_with(config, parent, copper_file, alloys, tmp_path, capsys):
    """Replayed structures and the parent too; how E0 were shifted is not said again."""
    replay = tmp_path / "replay.extxyz"
    replay.write_bytes(Path(alloys).read_bytes())
    options = ["--data.replay.path", replay, "--data.replay.ratio", "0.5", "--trainer.max_epochs", 1]
    assert train(config, *options) == 0
    assert "E0 shifted" in capsys.readouterr().out
    run = RunDirectory(tmp_path / "runs" / "tuned")
    kept = json.loads(run.provenance.read_text())
    assert (kept["replay"]["file"], kept["replay"]["sha256"]) == (str(replay), sha256(replay))
    assert kept["parent"]["sha256"] == sha256(parent)

    def resumed():
        code = main(["train", "--config", str(run.config), "--resume", "auto", "--trainer.max_epochs", "2"])
        shown = capsys.readouterr()
        assert "E0 shifted" not in shown.out
        return code, shown.err

    other = make()
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    for path, change, name in (
        (replay, lambda: replay.write_text(replay.read_text() * 2), "replay"),
        (parent, lambda: save_model(other, parent), "parent"),
    ):
        before = path.read_bytes()
        change()
        code, error = resumed()
        assert code == 1
        assert f"{path} is not the {name} file this run began with (its SHA-256 differs)" in error
        path.write_bytes(before)
    assert resumed()[0] == 0
