"""``data.max_edges: auto``: the budget bounds the memory, leaves no trace, and is the run's from then on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from ase.build import bulk
from ase.io import write
from conftest import labelled
from lightning.pytorch import Callback, LightningModule, Trainer
from test_resume import assert_same, state, train_in_a_process, train_in_process

from equinet.errors import InputError
from equinet.memory import SLACK, held, there
from equinet.training.configuration import TrainCLI
from equinet.training.memory_budget import find_budget
from equinet.training.quiet import quiet_third_parties
from equinet.training.randomness import random_states
from equinet.training.run_directory import RunDirectory

CPU = torch.device("cpu")
AUTO = ("--data.max_edges", "auto")


def found_in(run: RunDirectory) -> dict[str, float]:
    return json.loads(run.provenance.read_text())["budget"]


@pytest.fixture(scope="module")
def crystals_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals of 32 atoms, and one of 256; 38 thousand edges in all."""
    path = tmp_path_factory.mktemp("crystals") / "crystals.extxyz"
    frames = []
    for number in range(20):
        atoms = bulk("Cu", cubic=True).repeat(4 if number == 5 else 2)
        atoms.rattle(0.1, seed=number)
        frames.append(labelled(atoms, ("energy", "forces", "stress")))
    write(path, frames)
    return path


@pytest.fixture
def large_config(tmp_path: Path, crystals_file: Path) -> Path:
    """A network that takes kilobytes for an edge."""
    path = tmp_path / "large.yaml"
    path.write_text(
        f"""
run_dir: {tmp_path}/runs/large
data:
  train_path: {crystals_file}
  val_path: {crystals_file}
  max_edges: auto
  batch_size: 1000000
model:
  architecture: {{cutoff: 5.0, layers: 3, l_max: 2, channels: 16, radial_hidden: [16], parity: natural}}
trainer:
  max_epochs: 1
  limit_train_batches: 2
  limit_val_batches: 1
  accelerator: cpu
"""
    )
    return path


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process between: the kernel's mark of a new one begins with what the process held that it was forked from."""


def peak_of_process(*arguments: str) -> int:
    """Bytes that a process held at most, as the kernel says when it has ended."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, sys.executable, "-m", "equinet.cli", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) * 1024


def test_the_budget_bounds_the_peak_of_training(large_config, tmp_path):
    fraction = str(0.85e9 / there(CPU))
    options = ("--data.memory_fraction", fraction, "--trainer.enable_progress_bar", "false")
    peak = peak_of_process("train", "--config", str(large_config), *options)
    found = found_in(RunDirectory(tmp_path / "runs" / "large"))
    assert found["bound_by"] == "memory"
    assert found["allowed"] == pytest.approx(0.85e9, rel=0.2)
    assert 0.8 * found["allowed"] < peak < found["allowed"]


@pytest.mark.own_process
def test_half_the_memory_gives_half_the_budget_and_nothing_changes(large_config, monkeypatch):
    with quiet_third_parties():
        cli = TrainCLI(["--config", str(large_config)])
        before = {name: tensor.clone() for name, tensor in cli.model.state_dict().items()}
        data = cli.datamodule
        assert len(data.records.train_edges) == len(data.records.val_edges) == 20  # counted once, as without measuring
        modes = [part.training for part in cli.model.modules()]
        states = random_states()
        found = []
        cli.trainer.strategy.connect(cli.model)
        data.memory_fraction = 1.0
        monkeypatch.setattr("equinet.memory.PATIENCE", float("inf"))  # as many sizes however slow the machine is
        rooms = (400e6, 200e6)
        for room in rooms:
            allowed = int(held(CPU) + room)
            # what is free changes while other programs run
            monkeypatch.setattr("equinet.training.memory_budget.there", lambda *given, allowed=allowed: allowed)
            found.append(find_budget(cli.trainer, cli.model, data))
        for each, room in zip(found, rooms, strict=True):
            assert each.fitting * each.bytes_per_edge == pytest.approx(room - SLACK, rel=0.15)
        assert found[1].bytes_per_edge == pytest.approx(found[0].bytes_per_edge, rel=0.1)
        assert_same(before, dict(cli.model.state_dict()))
        assert_same(states, random_states())
        assert modes == [part.training for part in cli.model.modules()]
        assert all(weight.grad is None for weight in cli.model.parameters())
        assert not cli.model.train_errors.sums.any()
        assert not cli.model.val_errors.sums.any()
        assert data.automatic
        with pytest.raises(InputError, match=r"data\.max_edges is auto, but nothing has measured"):
            data.train_dataloader()


def test_measured_once_and_the_same_bits_as_with_the_number(tiny_config, tmp_path, capsys):
    """Also after a run was broken off, where measuring again would fail: nothing fits into no memory."""
    measured, given, broken = (RunDirectory(tmp_path / name) for name in ("measured", "given", "broken"))
    assert train_in_process(tiny_config, "--run_dir", str(measured.path), *AUTO) == 0
    assert "data.max_edges auto: " in capsys.readouterr().out
    number = found_in(measured)["max_edges"]
    assert yaml.safe_load(measured.config.read_text())["data"]["max_edges"] == number
    options = ("--run_dir", str(given.path), "--data.max_edges", str(number))
    assert train_in_process(tiny_config, *options) == 0
    assert_same(state(measured), state(given))

    stop = ("--trainer.callbacks+", "equinet.training.stopping.StopAtStep", "--trainer.callbacks.step", "6")
    assert train_in_process(tiny_config, "--run_dir", str(broken.path), *AUTO, *stop) == 0
    assert found_in(broken)["max_edges"] == number  # batch_size decides here, whatever memory there is
    again = ("--resume", "auto", "--trainer.callbacks", "null", "--data.memory_fraction", "1e-9")
    capsys.readouterr()
    assert train_in_process(tiny_config, "--run_dir", str(broken.path), *AUTO, *again) == 0
    assert "data.max_edges" not in capsys.readouterr().out
    assert_same(state(measured), state(broken))


def test_max_steps_goes_with_auto(tiny_config, tmp_path):
    run = RunDirectory(tmp_path / "run")
    options = ("--data.batch_size", "null", "--trainer.max_steps", "5", "--trainer.max_epochs", "-1")
    assert train_in_process(tiny_config, "--run_dir", str(run.path), *AUTO, *options) == 0
    assert state(run)["step"] == 5
    found = found_in(run)
    assert found["bound_by"] == "steps"  # of twelve frames, each is a batch: an epoch has as many steps as can be
    assert found["max_edges"] < found["fitting"]


@pytest.mark.own_process
def test_a_structure_that_does_not_fit_is_named(large_config, tmp_path, capsys, monkeypatch):
    enough_for_32_atoms = 80e6  # and what is free changes while other programs run
    monkeypatch.setattr(
        "equinet.training.memory_budget.there", lambda device, processes: int(held(device) + enough_for_32_atoms)
    )
    assert train_in_process(large_config, "--data.memory_fraction", "1.0") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "crystals.extxyz frame 5: its " in err
    for part in (" edges take ", "fit into what may be used", "model.recompute_weights", "data.memory_fraction"):
        assert part in err
    assert not (tmp_path / "runs" / "large").exists()


def test_a_fraction_that_cannot_be(tiny_config, capsys):
    assert train_in_process(tiny_config, *AUTO, "--data.memory_fraction", "1.5") == 1
    assert "data.memory_fraction is 1.5" in capsys.readouterr().err


class Report(Callback):
    """The second process holds more than the first; each writes down which budget it was given."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.ballast = torch.ones(20_000_000 if os.environ.get("LOCAL_RANK") == "1" else 0, dtype=torch.float64)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        budget = trainer.datamodule.budget  # type: ignore[attr-defined]
        (self.folder / f"rank{trainer.global_rank}").write_text(str(budget.edges))


def test_two_processes_agree_on_the_smaller_budget(large_config, tmp_path):
    fraction = str(1.0e9 / (there(CPU) / 2))
    reporter = ("--trainer.callbacks+", f"{Path(__file__).stem}.Report", "--trainer.callbacks.folder", str(tmp_path))
    options = ("--trainer.devices", "2", "--data.memory_fraction", fraction, "--trainer.limit_train_batches", "1")
    done = train_in_a_process(large_config, *options, *reporter)
    assert done.returncode == 0, done.stderr
    found = found_in(RunDirectory(tmp_path / "runs" / "large"))
    first, second = (int((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1))
    assert first == second == found["max_edges"]
    own = 1000 * 160_000  # what the second process alone is short of, in edges of the first
    assert found["fitting"] < (found["allowed"] - own) / found["bytes_per_edge"]
