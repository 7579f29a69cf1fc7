"""Weights, gradients, optimiser and average shared out between two processes: the same training, half of it in each."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from equinet.models import load_model
from equinet.training.processes import own_part
from equinet.training.run_directory import RunDirectory
from tests.training.test_resume import (
    TWO,
    assert_same,
    state,
    train_and_kill,
    train_in_a_process,
    train_in_process,
)

SHARDED = (*TWO, "--trainer.strategy", "fsdp")


class CountBytes(Callback):
    """Write what this process holds of weights, gradients, average and moments between two steps, and of all of it."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if batch_idx == 0:
            return  # validation has thrown the gradients away
        trained, average = (list(part.parameters()) for part in (pl_module.potential, pl_module.average.model))
        moments = [m for state in trainer.optimizers[0].state.values() for m in state.values() if m.dim()]
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        kinds = {"weights": trained, "average": average, "moments": moments, "gradients": gradients}
        counts = {kind: (held(tensors), size(tensors)) for kind, tensors in kinds.items()}
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(counts))


def held(tensors: Iterable[Tensor]) -> int:
    storages = [own_part(tensor).untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())  # gradients share some


def size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a if a[name].numel())


def test_two_processes_train_what_one_trains_hold_half_each_and_survive_a_kill(tiny_config, tmp_path, mixed_file):
    """Twenty-one steps with ragged batches, missing labels and clipped gradients; the same global batches."""
    data = ("--data.train_path", str(mixed_file), "--data.val_path", str(mixed_file), "--trainer.max_epochs", "7")
    options = (*data, "--trainer.gradient_clip_val", "0.5", "--checkpoint_every_n_steps", "1")
    one, two, killed = (RunDirectory(tmp_path / name) for name in ("one", "two", "killed"))
    count = ("--trainer.callbacks+", f"{Path(__file__).stem}.CountBytes", "--trainer.callbacks.folder", str(tmp_path))
    done = train_in_a_process(tiny_config, "--run_dir", str(two.path), *options, *SHARDED, *count)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert train_in_process(tiny_config, "--run_dir", str(one.path), *options, "--data.batch_size", "4") == 0
    a, b = state(one), state(two)
    assert a["step"] == b["step"] == 21
    assert a["weights"].keys() == b["weights"].keys()
    assert max(float((a["weights"][n] - v).abs().max()) for n, v in b["weights"].items() if v.numel()) < 1e-10
    for before, after in zip(a["metrics"], b["metrics"], strict=True):
        assert before == pytest.approx(after, rel=1e-9)

    best = torch.load(two.best, weights_only=True)["state_dict"]
    potential = load_model(two.model)
    assert_same(dict(potential.state_dict()), {n: best[f"average.model.{n}"] for n in potential.state_dict()})
    assert potential.provenance["training"]["step"] == load_model(one.model).provenance["training"]["step"]

    counts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for kind in ("weights", "average", "moments", "gradients"):
        (first, total), (second, _) = counts[0][kind], counts[1][kind]
        assert total <= first + second
        assert max(first, second) < 0.55 * total

    train_and_kill(tiny_config, 16, "--run_dir", str(killed.path), *options, *SHARDED)
    assert torch.load(killed.last, weights_only=True)["global_step"] == 16  # within an epoch
    done = train_in_a_process(tiny_config, "--run_dir", str(killed.path), *options, *SHARDED, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "killed-2").exists()
    assert_same(b, state(killed))
    assert_same(dict(potential.state_dict()), dict(load_model(killed.model).state_dict()))


def test_a_run_goes_on_with_sharding_and_without(tiny_config, tmp_path):
    """A fine-tuning, where frozen weights have no moments and low-rank updates are merged into what is saved, with
    accumulated gradients; in one process, whose steps are bit by bit those of a run without sharding."""
    parent, whole, run = (RunDirectory(tmp_path / name) for name in ("parent", "whole", "run"))
    assert train_in_process(tiny_config, "--run_dir", str(parent.path), "--trainer.max_epochs", "1") == 0
    options = ("--model.finetune.parent", str(parent.model), "--model.finetune.freeze", "[embedding]")
    options += ("--model.finetune.lora_rank", "2", "--model.finetune.lr_factors", "{readout: 0.5}")
    options += ("--trainer.accumulate_grad_batches", "2", "--trainer.max_epochs", "3")
    assert train_in_process(tiny_config, "--run_dir", str(whole.path), *options) == 0
    stop = ("--trainer.callbacks+", "equinet.training.stopping.StopAtStep", "--trainer.callbacks.step")
    go_on = ("--run_dir", str(run.path), *options, "--resume", "auto")
    assert train_in_process(tiny_config, *go_on, *stop, "2") == 0
    done = train_in_a_process(tiny_config, *go_on, "--trainer.strategy", "fsdp", *stop, "5")
    assert done.returncode == 0, done.stderr
    assert "trainer.strategy is fsdp from now on; the run began with auto" in done.stdout
    assert torch.load(run.last, weights_only=True)["global_step"] == 5
    assert train_in_process(tiny_config, *go_on) == 0
    assert_same(state(whole), state(run))
    assert_same(dict(load_model(whole.model).state_dict()), dict(load_model(run.model).state_dict()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("fsdp", "--model.compile", "true"), "model.compile does not go with trainer.strategy fsdp"),
        (("fsdp_cpu_offload",), "trainer.strategy fsdp_cpu_offload is not offered; use fsdp"),
        (("deepspeed_stage_3",), "trainer.strategy deepspeed_stage_3 is not offered; use fsdp"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_one_line(tiny_config, tmp_path, capsys, options, message):
    assert train_in_process(tiny_config, "--trainer.strategy", *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
