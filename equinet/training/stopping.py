"""Stop after a number of optimiser steps, in a way from which a run resumes exactly."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


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
