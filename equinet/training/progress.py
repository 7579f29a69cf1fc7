"""What a person watching sees: a bar on a terminal, lines with errors in meV/atom and meV/A everywhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from equinet.training.module import PotentialModule

_COLUMNS = (
    ("epoch", 7),
    ("time/s", 8),
    ("lr", 9),
    ("train loss", 11),
    ("val loss", 10),
    ("E meV/atom", 11),
    ("F meV/A", 9),
    ("S meV/A^3", 10),
)

LINES_PER_RUN = 50
"""Without a terminal a run prints about this many lines, whatever its number of epochs."""


class TrainingProgress(ProgressBar):
    """Report epochs, with validation errors (mean absolute) in the units people use.

    Args:
        console: where to print; the default writes to standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._enabled = True
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._started = 0.0
        self._header_printed = False

    def disable(self) -> None:
        """Print nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._enabled:
            self.console.print(*args, **kwargs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar on a terminal."""
        self._started = time.monotonic()
        self._header_printed = False
        if self._enabled and self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            assert isinstance(pl_module, PotentialModule)
            pace = pl_module.pace()
            total = None if pace is None else pace.end
            self._task = self._progress.add_task("training", total=total, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of this epoch."""
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else LINES_PER_RUN
        every = max(1, epochs // LINES_PER_RUN)
        epoch = trainer.current_epoch + 1
        if epoch % every == 0 or epoch in (1, epochs) or trainer.should_stop:
            values = dict(self._columns(trainer, pl_module))
            if not self._header_printed:
                self.print(" ".join(name.rjust(width) for name, width in _COLUMNS if name in values))
                self._header_printed = True
            self.print(" ".join(values[name].rjust(width) for name, width in _COLUMNS if name in values))

    def _columns(self, trainer: Trainer, pl_module: LightningModule) -> list[tuple[str, str]]:
        """Names and texts of the columns; only of the labels there are (stress often has none)."""
        assert isinstance(pl_module, PotentialModule)
        errors: Mapping[str, Any] = dict(trainer.callback_metrics) | pl_module.train_metrics()
        texts = [
            ("epoch", str(trainer.current_epoch + 1)),
            ("time/s", f"{time.monotonic() - self._started:.1f}"),
            ("lr", f"{errors['lr']:.2e}"),
            ("train loss", f"{errors['train/loss']:.4g}"),
        ]
        for name, key in (
            ("val loss", "val/loss"),
            ("E meV/atom", "val/energy_mae_mev_per_atom"),
            ("F meV/A", "val/force_mae_mev_per_angstrom"),
            ("S meV/A^3", "val/stress_mae_mev_per_a3"),
        ):
            if key in errors:
                texts.append((name, f"{float(errors[key]):.4g}" if name == "val loss" else f"{float(errors[key]):.2f}"))
        return texts

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the bar away, so that the message stands alone."""
        self._stop()
