"""A run that is killed and resumed ends with the bits of one that was never killed (float64, CPU)."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from equinet.cli.main import main
from equinet.models import load_model
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


def train_in_a_process(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(config), *COMMON, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def train_and_kill(config: Path, step: int, *options: str) -> None:
    """Steps are counted from 0; epochs have 4."""
    killer = ("--trainer.callbacks+", f"{Path(__file__).stem}.KillAfterStep", "--trainer.callbacks.step", str(step))
    done = train_in_a_process(config, *options, *killer)
    assert done.returncode == -signal.SIGKILL, done.stderr


TIMES = ("seconds", "data_wait_share")


def state(run: RunDirectory) -> dict[str, object]:
    checkpoint = torch.load(run.last, weights_only=True)
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"],
        "step": checkpoint["global_step"],
        "best": next(v["best"] for k, v in checkpoint["callbacks"].items() if k.startswith("Checkpoints")),
        "metrics": [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(run.metrics)],
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


TWO = ("--trainer.devices", "2", "--data.batch_size", "2")
"""Two processes; an epoch has three steps, the last of which has fewer frames."""


def test_two_processes_train_what_one_trains(tiny_config, tmp_path, mixed_file):
    """Twenty steps with ragged batches and missing labels; the same global batches, so the same parameters."""
    data = ("--data.train_path", str(mixed_file), "--data.val_path", str(mixed_file), "--trainer.max_epochs", "7")
    one, two = RunDirectory(tmp_path / "one"), RunDirectory(tmp_path / "two")
    done = train_in_a_process(tiny_config, "--run_dir", str(two.path), *data, *TWO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run directory") == 1
    assert train_in_process(tiny_config, "--run_dir", str(one.path), *data, "--data.batch_size", "4") == 0
    a, b = state(one), state(two)
    assert a["step"] == b["step"] >= 20
    assert a["weights"].keys() == b["weights"].keys()
    largest = max(
        float((a["weights"][name] - b["weights"][name]).abs().max())
        for name in a["weights"]
        if a["weights"][name].numel()
    )
    assert largest < 1e-10
    for before, after in zip(a["metrics"], b["metrics"], strict=True):  # exact too, whatever the last batches are
        assert before == pytest.approx(after, rel=1e-9)
    assert load_model(two.model).provenance["training"]["step"] == load_model(one.model).provenance["training"]["step"]


class KillSecondProcess(Callback):
    """As the system does where memory runs out."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_one_line_of_the_other(tiny_config, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "tiny")
    killer = ("--trainer.callbacks+", f"{Path(__file__).stem}.KillSecondProcess")
    done = train_in_a_process(tiny_config, *TWO, *killer)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "another process of this run has ended or cannot be reached" in done.stderr
    assert done.stderr.endswith(f"; go on with: equinet train --config {run.config} --resume auto\n")


class SendSignal(Callback):
    """Send a signal to this process within a step."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step == self.step and trainer.is_global_zero:
            os.kill(os.getpid(), signal.Signals[self.name])


def told_to_stop(config: Path, run: RunDirectory, name: str, step: int, *options: str) -> None:
    """Train with ``--resume auto`` until a signal comes within the step that follows."""
    sender = ("--trainer.callbacks+", f"{Path(__file__).stem}.SendSignal", "--trainer.callbacks.name", name)
    arguments = (
        "--run_dir",
        str(run.path),
        "--resume",
        "auto",
        *options,
        *sender,
        "--trainer.callbacks.step",
        str(step),
    )
    done = train_in_a_process(config, *arguments)
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    assert f"stopped by {name} after step {step + 1}; the checkpoint is written" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert torch.load(run.last, weights_only=True)["global_step"] == step + 1


def test_two_processes_killed_or_told_to_stop_end_with_the_same_bits(tiny_config, tmp_path):
    options = (*TWO, "--checkpoint_every_n_steps", "1", "--trainer.max_epochs", "3")
    whole, killed, told = (RunDirectory(tmp_path / name) for name in ("whole", "killed", "told"))
    assert train_in_a_process(tiny_config, "--run_dir", str(whole.path), *options).returncode == 0
    train_and_kill(tiny_config, 4, "--run_dir", str(killed.path), *options)
    assert torch.load(killed.last, weights_only=True)["global_step"] == 4
    told_to_stop(tiny_config, told, "SIGTERM", 4, *options)
    for run in (killed, told):
        done = train_in_a_process(tiny_config, "--run_dir", str(run.path), *options, "--resume", "auto")
        assert done.returncode == 0, done.stderr
        assert_same(state(whole), state(run))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"whole", "killed", "told"}


@pytest.mark.parametrize(
    ("name", "step"), [("SIGTERM", 5), ("SIGUSR1", 3)], ids=["within an epoch", "in its last step"]
)
def test_a_signal_saves_first_and_the_same_command_goes_on(tiny_config, tmp_path, capsys, name, step):
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    assert train_in_process(tiny_config, "--run_dir", str(whole.path)) == 0
    told_to_stop(tiny_config, broken, name, step)
    again = ("--run_dir", str(broken.path), "--resume", "auto", "--trainer.callbacks", "null")
    assert train_in_process(tiny_config, *again) == 0
    assert_same(state(whole), state(broken))
    before = broken.model.read_bytes()
    assert train_in_process(tiny_config, *again) == 0  # finished: nothing is left to do
    assert broken.model.read_bytes() == before
    assert not (tmp_path / "broken-2").exists()


def test_resume_auto_takes_over_a_folder_without_a_checkpoint(tiny_config, tmp_path):
    """As a job leaves it that is killed before its first checkpoint."""
    run = RunDirectory(tmp_path / "runs" / "tiny")
    run.path.mkdir(parents=True)
    run.config.touch()
    assert train_in_process(tiny_config, "--resume", "auto") == 0
    assert run.model.exists()
    assert not (tmp_path / "runs" / "tiny-2").exists()


def test_a_run_of_an_earlier_version_goes_on(tiny_config, tmp_path, capsys):
    """Which had not yet settings that there are now: they are by default what was always done."""
    run = RunDirectory(tmp_path / "runs" / "tiny")
    break_off(tiny_config, run, 6)
    config = yaml.safe_load(run.config.read_text())
    del config["model"]["tf32"], config["data"]["replay"]["turns"]
    run.config.write_text(yaml.safe_dump(config))
    checkpoint = torch.load(run.last, weights_only=False)
    del checkpoint["AtomicDataModule"]["replay.turns"]
    torch.save(checkpoint, run.last)
    assert train_in_process(tiny_config, "--trainer.callbacks", "null", "--resume", "auto") == 0
    assert "model.tf32 is False; the version that began the run did not have this setting" in capsys.readouterr().out
    assert run.model.exists()


def test_more_processes_go_on_with_what_is_left(tiny_config, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "tiny")
    break_off(tiny_config, run, 6, "--data.batch_size", "2")  # an epoch has six steps
    options = ("--trainer.devices", "2", "--data.batch_size", "2", "--trainer.callbacks", "null", "--resume", "auto")
    done = train_in_a_process(tiny_config, *options)
    assert done.returncode == 0, done.stderr
    assert "trainer.devices is 2 from now on; the run began with 1" in done.stdout
    assert "resuming at step 6 with 2 processes instead of 1" in done.stdout
    rows = read_metrics(run.metrics)
    assert [row["step"] for row in rows] == [6, 9, 12, 15]
    assert rows[-1]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_a_full_disk_keeps_the_checkpoint_before(tiny_config, tmp_path, monkeypatch, capsys):
    """The limit on the size of files stands in for the disk: writing fails in its middle, as on a full one."""
    run = RunDirectory(tmp_path / "runs" / "tiny")
    break_off(tiny_config, run, 6)
    before, size = run.last.read_bytes(), run.last.stat().st_size
    options = ("--config", str(tiny_config), *COMMON, "--trainer.callbacks", "null", "--resume", "auto")
    code = (
        "import resource, signal, sys; from equinet.cli.main import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2})); "
        "sys.exit(main(['train', *sys.argv[1:]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert "what was there before is kept" in done.stderr
    assert run.last.read_bytes() == before
    assert [path.name for path in run.last.parent.iterdir() if path.name.startswith(".")] == []


def test_a_loss_that_is_not_finite_on_one_of_two_processes_stops_both(tiny_config):
    done = train_in_a_process(tiny_config, *TWO, "--model.optimizer.lr", "1e30", "--model.schedule.name", "constant")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the loss is not finite at step 1" in done.stderr


class KillWorker(Callback):
    """Kill a process that builds batches, as the system does where memory runs out."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)


def test_a_killed_worker_is_one_line(tiny_config, tmp_path):
    options = ("--data.num_workers", "1", "--trainer.callbacks+", f"{Path(__file__).stem}.KillWorker")
    done = train_in_a_process(tiny_config, "--data.batch_size", "1", *options)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "a process that builds batches was killed" in done.stderr


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
        (("--data.max_atoms", "9", "--trainer.accumulate_grad_batches", "2"), 3),
        (("--data.max_edges", "300", "--data.num_workers", "2"), 5),
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
