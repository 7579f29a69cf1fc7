"""The clock of the race: the same Lightning callback trains both sides. It needs lightning alone.

Learning rate, snapshots and the end follow the seconds of training, so that both sides come to the end of their cosine
when the time is over, however many steps they took. Nothing is validated during the race: the averaged weights are
saved at equal spacings and judged afterwards, so that no side pays for being looked at.

The clock may count the processor's seconds: with one thread other work on the machine then does not disturb the race.
"""

import json
import math
import statistics
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer


class RaceClock(Callback):
    """Train for a time. Subclasses say how the weights are saved.

    Args:
        folder: for snapshots, ``001234.5`` and so on after the seconds they were taken at, and ``clock.json``.
        seconds: of training; reading data and building the model do not count.
        snapshots: how many, equally spaced, the last at the end.
        lr: learning rate at the start; a cosine takes it to zero.
        first_step_counts: whether the time runs from the beginning, or (to compare speeds) from the first step's end.
        counted: "wall", or the "processor" seconds of this process (of all its threads).
    """

    suffix = ""

    def __init__(
        self,
        folder: str,
        seconds: float,
        snapshots: int,
        lr: float,
        first_step_counts: bool = True,
        counted: Literal["wall", "processor"] = "wall",
    ) -> None:
        self.folder = Path(folder)
        self.seconds = seconds
        self.spacing = seconds / snapshots
        self.lr = lr
        self.first_step_counts = first_step_counts
        self.counted = counted
        self.taken = 0
        self.started = 0.0
        self.step_started = 0.0
        self.steps: list[float] = []

    def save(self, trainer: Trainer, module: LightningModule, path: Path) -> None:
        """Write the averaged weights."""
        raise NotImplementedError

    def now(self) -> float:
        """Seconds since some time."""
        return monotonic() if self.counted == "wall" else process_time()

    @property
    def elapsed(self) -> float:
        """Seconds of training."""
        return self.now() - self.started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = self.now()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        self.step_started = self.now()
        factor = 0.5 * (1.0 + math.cos(math.pi * min(1.0, self.elapsed / self.seconds)))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.lr * factor

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a snapshot when one is due; stop when the time is over."""
        self.steps.append(self.now() - self.step_started)
        if len(self.steps) == 1 and not self.first_step_counts:
            self.started = self.now()
        elapsed = self.elapsed
        over = elapsed >= self.seconds
        if over or elapsed >= (self.taken + 1) * self.spacing:
            self.taken = int(elapsed / self.spacing)
            self.save(trainer, pl_module, self.folder / f"{elapsed:08.1f}{self.suffix}")
        if over:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it went."""
        values = {
            "seconds": self.elapsed,
            "steps": len(self.steps),
            "epochs": trainer.current_epoch,
            "first_step_s": self.steps[0],
            "median_step_s": statistics.median(self.steps[1:] or self.steps),
            "weights": sum(weight.numel() for weight in pl_module.parameters() if weight.requires_grad),
        }
        (self.folder / "clock.json").write_text(json.dumps(values) + "\n")
