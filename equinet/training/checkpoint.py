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
from equinet.training.randomness import random_states, restore_random_states
from equinet.training.run_directory import RunDirectory
from equinet.training.sharding import ShardedStrategy
from equinet.training.signals import StoppedBySignal, StopSignals


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written through :func:`equinet.files.replacing`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # checkpoints/ of the run directory
        with replacing(path) as temporary, open(temporary, "wb") as file:  # a path's errors would not say why
            torch.save(checkpoint, file)


class Checkpoints(Checkpoint):
    """Write the checkpoints and the model file of a run; save and stop where a signal asks for it.

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
        self._signals = StopSignals()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let all processes know the folder that the first has claimed."""
        assert isinstance(pl_module, PotentialModule)
        self.run = RunDirectory(Path(trainer.strategy.broadcast(str(self.run.path))))
        pl_module.run_path = self.run.path

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals."""
        self._signals.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Within an epoch: save every n steps, and when the run is told to stop here.

        Raises:
            StoppedBySignal: a signal came, and the checkpoint is written.
        """
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not stepped:
            return  # the end of the epoch follows, with a checkpoint of its own; or gradients are half collected
        signal = self._signals.received()
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if trainer.should_stop or trainer.global_step == trainer.max_steps:
            self._save_last(trainer)
        elif due or self._postponed or signal:
            # a checkpoint made just before a validation inside the epoch would lose that validation
            self._postponed = _validation_follows(trainer, batch_idx)
            if not self._postponed:
                self._save_last(trainer)
                self._stop_if(signal, trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights with the lowest validation loss."""
        if trainer.sanity_checking or MONITOR not in trainer.callback_metrics:
            return
        loss = float(trainer.callback_metrics[MONITOR])
        if loss < self.best.get(MONITOR, float("inf")):
            self._save_best(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch.

        Raises:
            StoppedBySignal: a signal came, and the checkpoint is written.
        """
        if trainer.is_last_batch:
            self._save_last(trainer)
            self._stop_if(self._signals.received(), trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without validation there is no best: leave the last weights as the model."""
        self._signals.ignore()
        if not self.best:
            self._save_best(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave signals to others."""
        self._signals.ignore()

    def _stop_if(self, signal: int, trainer: Trainer) -> None:
        if signal:
            raise StoppedBySignal(signal, trainer.global_step)

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.run.last, weights_only=False)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PotentialModule)
        errors = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}
        self.best = {"epoch": trainer.current_epoch, "step": trainer.global_step} | errors
        trainer.save_checkpoint(self.run.best, weights_only=False)
        strategy = trainer.strategy
        potential = strategy.whole_potential() if isinstance(strategy, ShardedStrategy) else pl_module.best_potential
        if potential is not None and trainer.is_global_zero:
            potential.provenance = self.provenance | {"training": self.best}
            save_model(potential, self.run.model)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and the states of the random generators."""
        return {"best": self.best, "random": random_states()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.best = state_dict["best"]
        restore_random_states(state_dict["random"])


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    every = trainer.val_check_batch
    if not isinstance(every, int):
        return False
    batches = batch_idx if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.total_batch_idx
    return (batches + 1) % every == 0
