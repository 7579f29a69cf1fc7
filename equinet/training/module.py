"""One potential in training: loss, metrics, average of the weights, optimiser and schedule.

The constructor's arguments are the ``model:`` part of a configuration file.
"""

import dataclasses
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from equinet.data import Labels, Statistics, reference_energies
from equinet.errors import InputError
from equinet.graph import AtomicGraph
from equinet.models import NequIPArchitecture, Potential, Prediction, parameter_groups
from equinet.training.batch import Batch
from equinet.training.ema import ExponentialAverage
from equinet.training.finetuning import FineTuning, Start, prepare
from equinet.training.losses import LossTerms, LossWeights, loss_scales, loss_terms, residuals
from equinet.training.metrics import ErrorSums
from equinet.training.optimization import OptimizerSettings, ScheduleSettings, build_optimizer, build_schedule

MONITOR = "val/loss"
"""What "best" means: the loss over the validation set, of the averaged weights."""

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class PotentialModule(LightningModule):
    """Train a potential on energies, forces and stresses.

    Args:
        statistics: of the training set; from the data module, not from the configuration.
        architecture: hyper-parameters of the network.
        loss: weights of energy, forces and stress.
        optimizer: which optimiser, learning rate, weight decay.
        schedule: how the learning rate changes.
        ema_decay: decay of the average of the weights that is validated and saved; null for the weights themselves.
        dtype: precision of the features; geometry and sums of energies are always float64.
        subtract_isolated: make an isolated atom's energy exactly E0.
        zbl: add the Ziegler-Biersack-Littmark repulsion of bare nuclei.
        finetune: start from a trained potential, whose architecture it then is.
        start: that potential, fitted to the data; from the data module, not from the configuration.

    Raises:
        InputError: for settings that make no sense, or weights without a label to go with them.
    """

    def __init__(
        self,
        statistics: Statistics,
        architecture: NequIPArchitecture = NequIPArchitecture(),  # noqa: B008 (frozen dataclasses)
        loss: LossWeights = LossWeights(),  # noqa: B008
        optimizer: OptimizerSettings = OptimizerSettings(),  # noqa: B008
        schedule: ScheduleSettings = ScheduleSettings(),  # noqa: B008
        ema_decay: float | None = 0.99,
        dtype: Literal["float32", "float64"] = "float32",
        subtract_isolated: bool = True,
        zbl: bool = False,
        finetune: FineTuning = FineTuning(),  # noqa: B008
        start: Start | None = None,
    ) -> None:
        super().__init__()
        _check_labels(loss, statistics)
        self.loss_weights = loss
        self.loss_scales = loss_scales(statistics, loss)
        self.optimizer_settings = optimizer
        self.schedule_settings = schedule
        if start is None:
            isolated_energies, shift = reference_energies(statistics)
            self.potential = Potential(
                dataclasses.replace(
                    architecture, mean_neighbors=architecture.mean_neighbors or statistics.mean_neighbors
                ),
                species=list(statistics.species),
                isolated_energies=isolated_energies,
                scale=statistics.force_rms or statistics.energy_rms_per_atom or 1.0,
                shift=shift,
                subtract_isolated=subtract_isolated,
                zbl=zbl,
                dtype=_DTYPES[dtype],
            )
        else:
            self.potential = start.potential.with_dtype(_DTYPES[dtype]).train()
            prepare(self.potential, finetune)
        self.finetune = finetune
        self.average = None if ema_decay is None else ExponentialAverage(self.potential, ema_decay)
        self.train_errors = ErrorSums()
        self.val_errors = ErrorSums()

    @property
    def best_potential(self) -> Potential:
        """What is validated and saved: the averaged weights, or the weights where there is no average."""
        if self.average is None:
            return self.potential
        assert isinstance(self.average.model, Potential)
        return self.average.model

    def forward(self, graph: AtomicGraph, modal: Tensor | None = None) -> Prediction:
        """Predict with the averaged weights."""
        prediction: Prediction = self.best_potential(graph, modal)
        return prediction

    def _modal(self, labels: Labels) -> Tensor | None:
        """The level of theory of each structure, where there are several."""
        return labels.modal if self.potential.modals else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        errors = residuals(self.potential(batch.graph, self._modal(batch.labels)), batch.labels, batch.graph)
        terms = loss_terms(errors, self.loss_weights, self.loss_scales)
        loss = terms.energy + terms.forces + terms.stress
        if not torch.isfinite(loss):
            self._stop_on_non_finite(terms, batch)
        self.train_errors.update(errors)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the errors of one batch of the validation set."""
        self.val_errors.update(residuals(self(batch.graph, self._modal(batch.labels)), batch.labels, batch.graph))

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of errors anew."""
        self.val_errors.reset()

    def on_validation_epoch_end(self) -> None:
        """Log loss and errors over the whole validation set."""
        self._log_all(self._errors("val", self.val_errors))

    def on_train_epoch_start(self) -> None:
        """Begin the sums of errors anew (not when an epoch is resumed in its middle)."""
        self.train_errors.reset()

    def on_train_epoch_end(self) -> None:
        """Log loss and errors over the training set as they were met; step a plateau schedule."""
        self._log_all(self.train_metrics())
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau) and MONITOR in self.trainer.callback_metrics:
            scheduler.step(float(self.trainer.callback_metrics[MONITOR]))

    def train_metrics(self) -> dict[str, float]:
        """Loss and errors over the training batches of this epoch so far, and the learning rate."""
        learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self._errors("train", self.train_errors) | {"lr": learning_rate}

    def _errors(self, stage: str, errors: ErrorSums) -> dict[str, float]:
        values = {"loss": errors.loss(self.loss_weights, self.loss_scales)} | errors.compute()
        return {f"{stage}/{name}": value for name, value in values.items()}

    def _log_all(self, values: dict[str, float]) -> None:
        for name, value in values.items():  # sums were reduced over ranks already
            self.log(name, torch.tensor(value, dtype=torch.float64), rank_zero_only=True)

    def _stop_on_non_finite(self, terms: LossTerms, batch: Batch) -> None:
        broken = [name for name, term in terms._asdict().items() if not torch.isfinite(term)]
        shown = ", ".join(batch.sources[:8]) + (", ..." if len(batch.sources) > 8 else "")
        raise InputError(
            f"the loss is not finite at step {self.global_step} (epoch {self.current_epoch}; {' and '.join(broken)}), "
            f"in a batch of {len(batch.sources)} structures: {shown}; look for absurd labels or atoms too close "
            "there, or lower model.optimizer.lr or set trainer.gradient_clip_val"
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimiser and its schedule."""
        rate, factors = self.optimizer_settings.lr, self.finetune.lr_factors
        groups = parameter_groups(self.potential, rate, factors, "model.finetune.lr_factors")
        optimizer = build_optimizer(groups, self.optimizer_settings)
        total_steps = self.trainer.estimated_stepping_batches
        scheduler = build_schedule(optimizer, self.schedule_settings, float(total_steps))
        interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": MONITOR, "strict": False},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedule; a plateau is stepped by :meth:`on_train_epoch_end` instead.

        Lightning steps plateau schedules after the checkpoint of the epoch is written, so that a resumed run would
        miss that step.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take an optimiser step, then let the average follow."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update(self.potential)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running training errors, so that a resumed epoch logs what an uninterrupted one would."""
        checkpoint["train_errors"] = self.train_errors.sums.cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the running training errors."""
        self.train_errors.sums = checkpoint["train_errors"]


def _check_labels(weights: LossWeights, statistics: Statistics) -> None:
    """Refuse a training set that has no label with a weight."""
    labelled = {
        "energy": (weights.energy, statistics.frames_with_energy),
        "forces": (weights.forces, statistics.frames_with_forces),
        "stress": (weights.stress, statistics.frames_with_stress),
    }
    if not any(weight and frames for weight, frames in labelled.values()):
        weighted = " and ".join(name for name, (weight, _) in labelled.items() if weight)
        raise InputError(
            f"the training set has no {weighted}, the only labels with a weight in model.loss; "
            "give another weight, or name the keys that hold the labels (data.keys)"
        )
