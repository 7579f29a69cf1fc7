"""Stop after a number of optimiser steps, in a way from which a run resumes exactly."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from equinet.training.datamodule import AtomicDataModule


class StopAtStep(Callback):
    """Tell the trainer to stop at an optimiser step.

    Lightning's own ``max_steps`` makes it repeat the count of an epoch when a run is resumed between two epochs, and
    with it the order of the batches changes; ``trainer.max_steps`` in a configuration is therefore carried out by this.

    Args:
        step: the number of optimiser steps of the whole run, resumed parts together.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop where the step is reached."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True


class EndAtStep(StopAtStep):
    """Make a number of steps the length of the whole run, which learning rate and loss follow.

    The trainer must know epochs enough for them before the optimiser is made, and how many that are only the data know.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count the epochs."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, AtomicDataModule)
        per_epoch = data.steps_per_epoch(
            trainer.world_size, trainer.accumulate_grad_batches, trainer.limit_train_batches or 0
        )
        trainer.fit_loop.max_epochs = math.ceil(self.step / per_epoch)
