"""When checkpoints and the model file are written, such that a run can go on from any of them exactly.

``last.ckpt`` is written at moments whose state Lightning restores without loss: after an epoch's validation, and after
an optimiser step within an epoch. ``best.ckpt`` and ``model.safetensors`` follow the lowest validation loss.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from equinet.files import replacing
from equinet.models import save_model
from equinet.training.module import MONITOR, PotentialModule
from equinet.training.run_directory import RunDirectory


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written through :func:`equinet.files.replacing`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # checkpoints/ of the run directory
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)


class Checkpoints(Checkpoint):
    """Write the checkpoints and the model file of a run.

    Args:
        run: where to.
        provenance: kept in the model file: data files, statistics, configuration, versions.
        every_n_steps: also write ``last.ckpt`` after every so many optimiser steps, for epochs that take long.
    """

    def __init__(self, run: RunDirectory, provenance: dict[str, Any], every_n_steps: int | None = None) -> None:
        self.run = run
        self.provenance = provenance
        self.every_n_steps = every_n_steps
        self.best: dict[str, float] = {}  # epoch, step and validation errors of the best weights so far
        self._postponed = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Within an epoch: save every n steps, and when the run is told to stop here."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not stepped:
            return  # the end of the epoch follows, with a checkpoint of its own; or gradients are half collected
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if trainer.should_stop or trainer.global_step == trainer.max_steps:
            self._save_last(trainer)
        elif due or self._postponed:
            # a checkpoint made just before a validation inside the epoch would lose that validation
            self._postponed = _validation_follows(trainer, batch_idx)
            if not self._postponed:
                self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights with the lowest validation loss."""
        if trainer.sanity_checking or MONITOR not in trainer.callback_metrics:
            return
        loss = float(trainer.callback_metrics[MONITOR])
        if loss < self.best.get(MONITOR, float("inf")):
            self._save_best(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch."""
        if trainer.is_last_batch:
            self._save_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without validation there is no best: leave the last weights as the model."""
        if not self.best:
            self._save_best(trainer, pl_module)

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.run.last, weights_only=False)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PotentialModule)
        errors = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}
        self.best = {"epoch": trainer.current_epoch, "step": trainer.global_step} | errors
        trainer.save_checkpoint(self.run.best, weights_only=False)
        if trainer.is_global_zero:
            potential = pl_module.best_potential
            potential.provenance = self.provenance | {"training": self.best}
            save_model(potential, self.run.model)

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best so far."""
        self.best = state_dict["best"]


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    every = trainer.val_check_batch
    if not isinstance(every, int):
        return False
    batches = batch_idx if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.total_batch_idx
    return (batches + 1) % every == 0
