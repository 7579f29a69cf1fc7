"""``metrics.csv``, one row per epoch: the learning curve, whatever other logger is in use. Exact over resumes."""

import csv
import json
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from equinet.files import replacing
from equinet.training.checkpoint import Checkpoints
from equinet.training.module import PotentialModule
from equinet.training.run_directory import RunDirectory, read_metrics


class History(Callback):
    """Write a row of errors after every epoch, and a summary when training ends.

    ``data_wait_share`` is the part of an epoch's training time that went by waiting for batches: above a few per cent,
    more ``data.num_workers`` help.
    Rows of epochs that a resumed run repeats are dropped first.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.rows: list[dict[str, float]] = []
        self._earlier_seconds = 0.0
        self._started = 0.0
        self._epoch_started = 0.0
        self._asked = 0.0  # for the next batch
        self._waited = 0.0  # in this epoch

    @property
    def seconds(self) -> float:
        """Wall time spent training, all resumed parts together."""
        return self._earlier_seconds + time.monotonic() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; take over the rows of the run that is resumed."""
        self._started = time.monotonic()
        if trainer.is_global_zero and trainer.global_step and self.run.metrics.exists():
            self.rows = [row for row in read_metrics(self.run.metrics) if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure how long this epoch waits for batches."""
        self._epoch_started = self._asked = time.monotonic()
        self._waited = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        self._waited += time.monotonic() - self._asked

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The next one is wanted."""
        self._asked = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        assert isinstance(pl_module, PotentialModule)
        errors = pl_module.train_metrics()
        validation = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "seconds": round(self.seconds, 3)}
        share = self._waited / max(self._asked - self._epoch_started, 1e-9)
        self.rows.append(row | errors | validation | {"data_wait_share": round(share, 4)})
        if trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.run.metrics) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the summary."""
        if not trainer.is_global_zero:
            return
        best: dict[str, float] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                best = callback.best
        summary = {
            "seconds": self.seconds,
            "epochs": len(self.rows),
            "steps": trainer.global_step,
            "parameters": sum(p.numel() for p in pl_module.parameters() if p.requires_grad),
            "best": best,
        }
        with replacing(self.run.training) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Time spent so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from the time spent before."""
        self._earlier_seconds = state_dict["seconds"]
