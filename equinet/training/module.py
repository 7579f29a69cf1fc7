"""One potential in training: loss, metrics, average of the weights, optimiser and schedule.

The constructor's arguments are the ``model:`` part of a configuration file.
"""

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from equinet.data import Labels, Statistics, reference_energies, write_examples
from equinet.deploy import export_model
from equinet.deploy.scripted import scripted
from equinet.elements import SYMBOLS
from equinet.errors import DataWarning, InputError
from equinet.graph import AtomicGraph
from equinet.models import NequIPArchitecture, Potential, Prediction, parameter_groups
from equinet.models.adaptation import merged
from equinet.nn import Interaction
from equinet.training.agreement import Agreement, ToldByFirst
from equinet.training.batch import Batch
from equinet.training.compiled_step import CompiledPotential
from equinet.training.datamodule import AtomicDataModule
from equinet.training.ema import ExponentialAverage
from equinet.training.finetuning import FineTuning, Start, prepare
from equinet.training.losses import Loss, LossSettings, TermWeights, check_labelled, residuals, weighted
from equinet.training.metrics import ErrorSums
from equinet.training.optimization import OptimizerSettings, ScheduleSettings, build_optimizer, build_schedule
from equinet.training.pace import Pace
from equinet.training.precision import use_bfloat16

MONITOR = "val/loss"
"""What "best" means: the loss over the validation set, of the averaged weights."""

NON_FINITE_BATCH = "nonfinite"
"""Beginning of the name of the file in the run directory that a batch goes to whose loss is not finite."""

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class PotentialModule(LightningModule):
    """Train a potential on energies, forces and stresses.

    Args:
        statistics: of the training set; from the data module, not from the configuration.
        architecture: hyper-parameters of the network.
        loss: form and weights of the errors of energy, forces and stress.
        optimizer: which optimiser, learning rate, weight decay.
        schedule: how the learning rate changes.
        ema_decay: decay of the average of the weights that is validated and saved; null for the weights themselves.
        dtype: precision of the features; geometry and sums of energies are always float64.
        subtract_isolated: make an isolated atom's energy exactly E0.
        zbl: add the Ziegler-Biersack-Littmark repulsion of bare nuclei.
        finetune: start from a trained potential, whose architecture it then is.
        start: that potential, fitted to the data; from the data module, not from the configuration.
        recompute_weights: make the convolution's weights of each edge again for each derivative and keep none: a
            fraction of the memory, for somewhat more time.
        linear_maps: "bfloat16" rounds the factors of linear maps to three digits while training, which GPUs multiply
            faster; validation and the saved model stay as they are.
        tf32: let GPUs multiply float32 matrices in TF32, with ten bits of mantissa.
        compile: trace and compile the training step (torch.compile), which takes minutes once and pays where structures
            are small or a GPU waits for Python.

    Raises:
        InputError: for settings that make no sense, or weights without a label to go with them.
    """

    def __init__(
        self,
        statistics: Statistics,
        architecture: NequIPArchitecture = NequIPArchitecture(),  # noqa: B008 (frozen dataclasses)
        loss: LossSettings = LossSettings(),  # noqa: B008
        optimizer: OptimizerSettings = OptimizerSettings(),  # noqa: B008
        schedule: ScheduleSettings = ScheduleSettings(),  # noqa: B008
        ema_decay: float | None = 0.99,
        dtype: Literal["float32", "float64"] = "float32",
        subtract_isolated: bool = True,
        zbl: bool = False,
        recompute_weights: bool = False,
        linear_maps: Literal["full", "bfloat16"] = "full",
        tf32: bool = False,
        compile: bool = False,
        finetune: FineTuning = FineTuning(),  # noqa: B008
        start: Start | None = None,
    ) -> None:
        super().__init__()
        _check_labels(loss, statistics)
        self.loss = Loss(loss, statistics)
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
        _check_elements(loss, self.potential)
        self.finetune = finetune
        if recompute_weights:
            for part in self.potential.modules():
                if isinstance(part, Interaction):
                    part.recompute_weights()
        self.average = None if ema_decay is None else ExponentialAverage(self.potential, ema_decay)
        self.tf32 = tf32
        self._compiled = CompiledPotential(self.potential) if compile else None
        if linear_maps == "bfloat16":
            if self.average is None:
                raise InputError(
                    'model.linear_maps is "bfloat16", which needs an average to validate and save in full precision; '
                    "set model.ema_decay"
                )
            use_bfloat16(self.potential)
        self.train_errors = ErrorSums()
        self.val_errors = ErrorSums()
        self._agreement = Agreement()
        self._pace: Pace | None = None
        self.run_path = Path()  # where a batch goes whose loss is not finite

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

    def to_torchscript(
        self,
        file_path: str | Path | None = None,
        method: str | None = "script",
        example_inputs: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """The validated potential in TorchScript, as ``equinet export --to torchscript`` writes it.

        Args:
            file_path: where to write it, checked against the model before; None: nowhere.
            method: "script": a trace would keep the example's numbers of atoms.
            example_inputs: of no use to a script.
            kwargs: as little.

        Returns:
            What takes and gives what :class:`equinet.deploy.scripted.ScriptedPotential` says.

        Raises:
            InputError: another method; an artefact that does not give the model's answers.
        """
        if method != "script":
            raise InputError(f'to_torchscript knows method="script", not {method!r}: a trace keeps numbers of atoms')
        potential = merged(self.best_potential).eval()
        if file_path is not None:
            export_model(potential, "torchscript", file_path)
        return scripted(potential, library=False)

    def predict_for_training(self, graph: AtomicGraph, modal: Tensor | None = None) -> Prediction:
        """Predict with the weights that are trained, such that the result can be differentiated by them."""
        prediction: Prediction = (self._compiled or self.potential)(graph, modal)
        return prediction

    def forget_compiled(self) -> None:
        """Compile the training step anew when it is next taken, for the batch it then has."""
        if self._compiled is not None:
            self._compiled = CompiledPotential(self.potential)

    def _modal(self, labels: Labels) -> Tensor | None:
        """The level of theory of each structure, where there are several."""
        return labels.modal if self.potential.modals else None

    def terms(self, batch: Batch, weights: TermWeights) -> Tensor:
        """This batch's parts of the three terms of the loss of its optimiser step, [3]; training errors are noted."""
        prediction = self.predict_for_training(batch.graph, self._modal(batch.labels))
        errors = residuals(prediction, batch.labels, batch.graph)
        penalties = self.loss.penalties(errors, batch.labels, batch.graph)
        self.train_errors.update(errors, penalties)
        return weighted(weights, penalties, batch.totals)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return this batch's part of the loss of its optimiser step.

        Lightning takes the mean over processes and accumulated batches: multiplied by their number, the parts sum up to
        the mean over what is labelled in the whole step.
        """
        terms = self.terms(batch, self._term_weights())
        self._stop_on_non_finite(terms, batch)
        return terms.sum() * (self.trainer.world_size * self.trainer.accumulate_grad_batches)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the errors of one batch of the validation set."""
        errors = residuals(self(batch.graph, self._modal(batch.labels)), batch.labels, batch.graph)
        self.val_errors.update(errors, self.loss.penalties(errors, batch.labels, batch.graph))

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
        weights = self._term_weights() if stage == "train" else self.loss.settings.final_weights
        return {f"{stage}/{name}": value for name, value in ({"loss": errors.loss(weights)} | errors.compute()).items()}

    def _log_all(self, values: dict[str, float]) -> None:
        for name, value in values.items():  # the same on every process: sums were reduced already
            self.log(name, torch.tensor(value, dtype=torch.float64))

    def _stop_on_non_finite(self, terms: Tensor, batch: Batch) -> None:
        """Stop on every process if the loss of one is not finite, before it spreads to the weights.

        Raises:
            InputError: names the structures, and the file to which they were written.
            ToldByFirst: the same, on the other processes.
        """
        message = None
        if not torch.isfinite(terms.sum()):
            names = ("energy", "forces", "stress")
            broken = [name for name, term in zip(names, terms, strict=True) if not torch.isfinite(term)]
            shown = ", ".join(batch.sources[:8]) + (", ..." if len(batch.sources) > 8 else "")
            path = self.run_path / f"{NON_FINITE_BATCH}{self.global_rank or ''}.extxyz"
            write_examples(path, batch.graph, batch.labels, batch.sources)
            message = (
                f"the loss is not finite at step {self.global_step} (epoch {self.current_epoch}; "
                f"{' and '.join(broken)}), in a batch of {len(batch.sources)} structures, written to {path}: {shown}; "
                "look for absurd labels or atoms too close there, or lower model.optimizer.lr or set "
                "trainer.gradient_clip_val"
            )
        message = self._agreement.first_text(message)
        if message is not None:
            raise InputError(message) if self.trainer.is_global_zero else ToldByFirst

    def setup(self, stage: str) -> None:
        """Compare the weights of the loss with the labels of the data.

        Raises:
            InputError: validation has no label that counts.
        """
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, AtomicDataModule):
            validates = bool(self.trainer.limit_val_batches)
            with warnings.catch_warnings():
                if not self.trainer.is_global_zero:
                    warnings.simplefilter("ignore", DataWarning)  # the first process says it
                check_labelled(self.loss.settings, data.records.train, data.records.val if validates else None)

    def pace(self) -> Pace | None:
        """How far the run is at each optimiser step; None where nothing ends it."""
        if self.schedule_settings.total_steps is not None:
            return Pace([(0, 0.0)], self.schedule_settings.total_steps)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, AtomicDataModule):
            return data.pace()
        steps = float(self.trainer.estimated_stepping_batches)  # loaders of the user's own
        return Pace([(0, 0.0)], steps) if math.isfinite(steps) else None

    def _term_weights(self) -> TermWeights:
        """Weights of the loss at this step."""
        return self.loss.settings.weights(0.0 if self._pace is None else self._pace.progress(self.global_step))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimiser and its schedule."""
        self._pace = self.pace()
        rate, factors = self.optimizer_settings.lr, self.finetune.lr_factors
        groups = parameter_groups(self.potential, rate, factors, "model.finetune.lr_factors")
        optimizer = build_optimizer(groups, self.optimizer_settings)
        late = self.loss.settings.second_stage
        if late is not None and self._pace is None:
            raise InputError(
                "model.loss.second_stage begins after a share of the run, but the run has no end; set "
                "trainer.max_epochs or trainer.max_steps"
            )
        if self.schedule_settings.name == "plateau" and not self.trainer.limit_val_batches:
            raise InputError(
                'model.schedule.name is "plateau", which follows the validation loss, but there is no validation '
                '(trainer.limit_val_batches is 0); validate, or use "cosine" or "constant"'
            )
        scheduler = build_schedule(optimizer, self.schedule_settings, self._pace, late)
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
        checkpoint["train_errors"] = self.train_errors.gather()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the running training errors."""
        self.train_errors.scatter(checkpoint["train_errors"])


def _check_elements(loss: LossSettings, potential: Potential) -> None:
    """Refuse weights by element where the model knows none of the elements."""
    known = [SYMBOLS[number] for number in potential.species]
    if loss.force_weight_by_element and not loss.force_weight_by_element.keys() & set(known):
        raise InputError(
            f"model.loss.force_weight_by_element has no effect: it names {', '.join(loss.force_weight_by_element)}, "
            f"the structures have {', '.join(known)}"
        )


def _check_labels(loss: LossSettings, statistics: Statistics) -> None:
    """Refuse a training set that has no label with a weight."""
    late = loss.final_weights
    labelled = {
        "energy": (loss.energy or late.energy, statistics.frames_with_energy),
        "forces": (loss.forces or late.forces, statistics.frames_with_forces),
        "stress": (loss.stress or late.stress, statistics.frames_with_stress),
    }
    if not any(weight and frames for weight, frames in labelled.values()):
        weighted = " and ".join(name for name, (weight, _) in labelled.items() if weight)
        raise InputError(
            f"the training set has no {weighted}, the only labels with a weight in model.loss; "
            "give another weight, or name the keys that hold the labels (data.keys)"
        )
