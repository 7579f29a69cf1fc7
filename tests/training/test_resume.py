"""A run that is killed and resumed ends with the bits of one that was never killed (float64, CPU)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from equinet.cli.main import main
from equinet.training.run_directory import RunDirectory, read_metrics


class KillAfterStep(Callback):
    """End the process as a power cut would, within the step that follows."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step >= self.step:
            os.kill(os.getpid(), signal.SIGKILL)


COMMON = ("--trainer.enable_progress_bar", "false", "--model.optimizer.lr", "0.02")


def train_in_process(config: Path, *options: str) -> int:
    return main(["train", "--config", str(config), *COMMON, *options])


def train_and_kill(config: Path, step: int, *options: str) -> None:
    """Steps are counted from 0; epochs have 4."""
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killer = ("--trainer.callbacks+", f"{here.stem}.KillAfterStep", "--trainer.callbacks.step", str(step))
    command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(config), *COMMON, *options, *killer]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr


def state(run: RunDirectory) -> dict[str, object]:
    checkpoint = torch.load(run.last, weights_only=True)
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"],
        "step": checkpoint["global_step"],
        "best": next(v["best"] for k, v in checkpoint["callbacks"].items() if k.startswith("Checkpoints")),
        "metrics": [{name: v for name, v in row.items() if name != "seconds"} for row in read_metrics(run.metrics)],
    }


def assert_same(a: object, b: object, where: str = "") -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@pytest.mark.parametrize(
    ("options", "kill_at"),
    [
        pytest.param(("--checkpoint_every_n_steps", "1"), 7, id="within an epoch"),
        pytest.param(("--model.schedule.name", "plateau", "--model.schedule.patience", "0"), 9, id="after an epoch"),
    ],
)
def test_killed_and_resumed_is_bitwise_the_same(tiny_config, tmp_path, options, kill_at):
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    assert train_in_process(tiny_config, "--run_dir", str(whole.path), *options) == 0
    train_and_kill(tiny_config, kill_at, "--run_dir", str(broken.path), *options)
    stopped = torch.load(broken.last, weights_only=True)["global_step"]
    assert stopped == (kill_at if "--checkpoint_every_n_steps" in options else 8)
    assert train_in_process(tiny_config, "--run_dir", str(broken.path), *options, "--ckpt_path", "last") == 0
    assert_same(state(whole), state(broken))
    assert not (tmp_path / "broken-2").exists()


def break_off(config: Path, run: RunDirectory, step: int, *options: str) -> None:
    """As a kill after ``step`` leaves it, without the price of a process: stop there, as a time limit does."""
    stop = ("--trainer.callbacks+", "equinet.training.stopping.StopAtStep", "--trainer.callbacks.step", str(step))
    assert train_in_process(config, "--run_dir", str(run.path), *options, *stop) == 0
    assert torch.load(run.last, weights_only=True)["global_step"] == step


@pytest.mark.parametrize(
    ("options", "step"),
    [
        (("--trainer.max_steps", "14"), 6),
        (("--trainer.max_steps", "14"), 8),
        (("--trainer.accumulate_grad_batches", "2"), 3),
        (("--trainer.limit_train_batches", "3"), 6),
        (("--trainer.val_check_interval", "0.5"), 7),
        (("--model.ema_decay", "null", "--model.optimizer.name", "amsgrad"), 5),
        (("--data.n_train", "7", "--data.val_fraction", "0.5"), 4),
    ],
)
def test_a_run_broken_off_anywhere_goes_on_exactly(tiny_config, tmp_path, options, step):
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    assert train_in_process(tiny_config, "--run_dir", str(whole.path), *options) == 0
    break_off(tiny_config, broken, step, *options)
    assert train_in_process(tiny_config, "--run_dir", str(broken.path), *options, "--ckpt_path", "last") == 0
    a, b = state(whole), state(broken)
    for part in ("weights", "optimizer", "step"):
        assert_same(a[part], b[part], part)
    assert_same(a["metrics"], b["metrics"], "metrics")


def test_the_saved_configuration_resumes_its_run(tiny_config, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "tiny")
    break_off(tiny_config, run, 6)
    assert main(["train", "--config", str(run.config), "--ckpt_path", "last", "--trainer.callbacks", "null"]) == 0
    assert torch.load(run.last, weights_only=True)["global_step"] == 16


def test_last_without_a_checkpoint_is_an_error(tiny_config, tmp_path, capsys):
    assert train_in_process(tiny_config, "--ckpt_path", "last") == 1
    assert "last.ckpt does not exist" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data.batch_size", "2"), "batch_size"),
        (("--seed", "5"), "seed"),
        (("--model.architecture.channels", "3"), "model.architecture.channels is 3, but the run began with 2"),
        (("--model.schedule.warmup_steps", "2"), "model.schedule.warmup_steps is 2"),
    ],
)
def test_resuming_with_another_configuration_is_refused(tiny_config, tmp_path, capsys, options, message):
    run = RunDirectory(tmp_path / "runs" / "tiny")
    break_off(tiny_config, run, 6)
    before = run.last.read_bytes()
    assert train_in_process(tiny_config, "--ckpt_path", "last", *options) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert run.last.read_bytes() == before


def test_resuming_with_changed_data_is_refused(tiny_config, copper_file, tmp_path, capsys):
    data = tmp_path / "data.extxyz"
    data.write_text(copper_file.read_text())
    run = RunDirectory(tmp_path / "runs" / "tiny")
    options = ("--data.train_path", str(data))
    break_off(tiny_config, run, 6, *options)
    data.write_text(data.read_text().replace("0", "1", 1))
    assert train_in_process(tiny_config, "--ckpt_path", "last", *options) == 1
    assert "SHA-256" in capsys.readouterr().err
