"""The data of a run: the batches of its frames (:mod:`equinet.training.records`), and where in an epoch it is.

The constructor's arguments are the ``data:`` part of a configuration file.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from equinet.data import (
    ExampleDataset,
    FrameWeights,
    LabelKeys,
    Modals,
    Statistics,
    Subset,
    columns_of,
    store_of,
)
from equinet.errors import InputError
from equinet.training.batch import BatchDataset
from equinet.training.finetuning import FineTuning, Replay, Start
from equinet.training.pace import Pace
from equinet.training.records import RunRecords, files_of_run
from equinet.training.sampling import BatchLoader, Budget, EpochBatches, Planner, Share, Turns

VALIDATION = 2
"""Limits of a validation batch, in those of a training batch, unless given: no gradients of weights are taken there."""


class AtomicDataModule(LightningDataModule):
    """Labelled structures for training and validation.

    Args:
        train_path: file to train on, any format that `equinet data build` reads; or a store; overrides ``sample``.
        val_path: file to validate on; without it a part of the training file is split off.
        sample: name of a data set that ships with the package ("glycol", "silicon").
        val_fraction: share of the frames split off where there is no validation file.
        n_train: train on this many frames only, drawn at random; null for all.
        split_seed: of the validation split and of ``n_train``.
        keys: names of the keys that hold the labels; null finds them.
        priors: energy per atom in eV by element, for E0s that must be fitted; null takes the mean of the data.
        batch_size: structures per batch of one process; null for 5, or for no limit where a budget is given.
        max_atoms: atoms per batch of one process; batches are filled up to it with as many structures as fit.
        max_edges: edges (pairs within the cutoff) per batch of one process, which memory and time go with; "auto"
            measures before training how many fit into the memory of the device, and leaves an epoch of 100 optimiser
            steps or more, unless batch_size or max_atoms say how large a step shall be.
        memory_fraction: share of the device's memory that "auto" may plan with.
        val_batch_size: structures per validation batch; null for twice the limits of training.
        num_workers: processes that build batches; 0 builds them in the training process.
        weights: how much frames count in the loss, by a key of their own or by group.
        modal_key: of each frame's info, its level of theory, where ``model.architecture.modals`` names several.
        replay: structures of the parent's training data, trained on beside these (``model.finetune``).
        cutoff: Angstrom; linked to ``model.architecture.cutoff``.
        modals: linked to ``model.architecture.modals``.
        finetune: linked to ``model.finetune``.
        seed: of the order of batches; linked to ``seed``.

    Raises:
        InputError: neither a file nor a sample named, or settings that make no sense. Files are read, and
            complaints about them raised, when ``statistics`` or a loader is first asked for.
    """

    def __init__(
        self,
        train_path: str | None = None,
        val_path: str | None = None,
        sample: str | None = None,
        val_fraction: float = 0.1,
        n_train: int | None = None,
        split_seed: int = 0,
        keys: LabelKeys = LabelKeys(),  # noqa: B008 (a frozen dataclass)
        priors: dict[str, float] | None = None,
        batch_size: int | None = None,
        max_atoms: int | None = None,
        max_edges: int | Literal["auto"] | None = None,
        memory_fraction: float = 0.8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        weights: FrameWeights = FrameWeights(),  # noqa: B008
        modal_key: str = "modal",
        replay: Replay = Replay(),  # noqa: B008
        cutoff: float = 5.0,
        modals: list[str] | None = None,
        finetune: FineTuning | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "val_batch_size": val_batch_size, "n_train": n_train}
        if num_workers < 0:
            raise InputError(f"data.num_workers is {num_workers}; it must be 0 (no process of their own) or more")
        for name, value in (counts | {"max_atoms": max_atoms, "max_edges": max_edges}).items():
            if isinstance(value, int) and value < 1:
                raise InputError(f"data.{name} is {value}; it must be at least 1")
        if not 0.0 < memory_fraction <= 1.0:
            raise InputError(f"data.memory_fraction is {memory_fraction}; it must lie above 0 and be 1 at most")
        self.records = RunRecords(
            files_of_run(train_path, val_path, sample),
            keys=keys,
            val_fraction=val_fraction,
            n_train=n_train,
            split_seed=split_seed,
            cutoff=cutoff,
            priors=priors,
            modals=Modals(tuple(modals or ()), modal_key),
            finetune=finetune or FineTuning(),
            replay=replay,
        )
        if batch_size is None and max_atoms is None and max_edges is None:
            batch_size = 5
        self.budget = Budget(batch_size, max_atoms, None if max_edges == "auto" else max_edges)
        self.val_batch_size = val_batch_size
        self.automatic = max_edges == "auto"  # a budget of edges that is not known yet
        self.memory_fraction = memory_fraction
        self.num_workers = num_workers
        self.weights = weights
        self.seed = seed
        self._loader: BatchLoader | None = None
        self._taken: tuple[int, tuple[Share, ...]] = (0, ())  # an epoch, and what was taken of it before this process
        self._pace: tuple[tuple[int, float], ...] = ((0, 0.0),)
        self._batches_per_epoch: dict[tuple[int, float], int] = {}

    @property
    def val_budget(self) -> Budget:
        """Of one batch of validation."""
        if self.val_batch_size is None:
            return self.budget.times(VALIDATION)
        return replace(self.budget, structures=self.val_batch_size)

    def settle(self, max_edges: int) -> None:
        """Take a budget of edges in place of "auto"; before the first batch is planned."""
        self.budget, self.automatic = replace(self.budget, edges=max_edges), False

    @property
    def statistics(self) -> Statistics:
        """Of the frames to train on; linked to ``model.statistics``."""
        return self.records.statistics

    @property
    def start(self) -> Start | None:
        """The potential that a fine-tuning starts from; linked to ``model.start``."""
        return self.records.start

    def setup(self, stage: str) -> None:
        """Look before training at what would be noticed late, or never.

        Raises:
            InputError: weights of frames by keys or groups that there are not.
        """
        self.weights.check(self.records.sets)

    @property
    def processes(self) -> int:
        """That train together."""
        return 1 if self.trainer is None else self.trainer.world_size

    def examples(self, records: Subset, keep: bool) -> ExampleDataset:
        """Graphs and labels, kept once they are made or not."""
        return ExampleDataset(records, self.records.cutoff, self.records.modals.index, self.weights.of, keep)

    @cached_property
    def _train_examples(self) -> ExampleDataset:
        return self.examples(self.records.train, keep=store_of(self.records.train) is None)

    @cached_property
    def _val_examples(self) -> ExampleDataset:
        return self.examples(self.records.val, keep=store_of(self.records.val) is None)

    @cached_property
    def _train_planner(self) -> Planner:
        records, turns = self.records, None
        if records.replayed:
            new = len(records.train) - len(records.replayed)
            turns = Turns(new, records.replay.each_epoch(new))
        return self._planner(records.train, lambda: records.train_edges, self.budget, turns)

    @cached_property
    def _val_planner(self) -> Planner:
        return self._planner(self.records.val, lambda: self.records.val_edges, self.val_budget)

    def _planner(
        self, records: Subset, edges: Callable[[], NDArray[np.int64]], budget: Budget, turns: Turns | None = None
    ) -> Planner:
        if self.automatic:
            raise InputError(
                "data.max_edges is auto, but nothing has measured yet what fits; add the callback "
                "equinet.training.memory_budget.MeasuredBudget to the trainer, or give a number"
            )
        # those of a store take long to count for the first time; without a budget of edges atoms are shared as well
        counts = edges() if budget.edges is not None or store_of(records) is None else None
        return Planner(columns_of(records), counts, budget, self.seed, lambda frame: records[frame].source, turns)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches of the current epoch; they depend on (seed, epoch, number of processes) alone."""
        self._loader = BatchLoader(BatchDataset(self._train_examples), self._epoch(), self.num_workers)
        return self._loader

    def _epoch(self) -> EpochBatches:
        trainer = self.trainer
        if trainer is None:
            return EpochBatches(self._train_planner, 0)
        return EpochBatches(
            self._train_planner,
            trainer.current_epoch,
            trainer.world_size,
            trainer.global_rank,
            taken=self._taken[1] if self._taken[0] == trainer.current_epoch else (),
            accumulate=trainer.accumulate_grad_batches,
            limit=trainer.limit_train_batches,
        )

    def val_dataloader(self) -> DataLoader:
        """Batches in the order of the file."""
        rank = 0 if self.trainer is None else self.trainer.global_rank
        batches = EpochBatches(self._val_planner, None, self.processes, rank)
        return BatchLoader(BatchDataset(self._val_examples), batches, self.num_workers)

    def steps_per_epoch(self, processes: int, accumulate: int = 1, limit: float = 1.0) -> int:
        """Optimiser steps of the first epoch; with a budget, others may have a few more or less.

        Args:
            processes: that share it.
            accumulate: batches that make a step.
            limit: batches after which an epoch ends, or the share of them.
        """
        key = (processes, limit)
        if key not in self._batches_per_epoch:  # planning takes seconds for millions of frames; every checkpoint asks
            self._batches_per_epoch[key] = EpochBatches(self._train_planner, 0, processes, limit=limit).end
        return math.ceil(self._batches_per_epoch[key] / accumulate)

    def pace(self) -> Pace | None:
        """How far the run is at each of its optimiser steps; None where no number of epochs ends it."""
        trainer = self.trainer
        if trainer is None or trainer.max_epochs is None or trainer.max_epochs < 0:
            return None
        steps = self.steps_per_epoch(
            trainer.world_size, trainer.accumulate_grad_batches, trainer.limit_train_batches or 0
        )
        return Pace(self._pace, steps * trainer.max_epochs)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must find unchanged, and where in the epoch it goes on.

        The position travels here and not in Lightning's loop state: Lightning forgets that one when the loader is
        made before the loops are restored, as happens for every schedule that depends on the number of steps.
        """
        assert self.trainer is not None
        epoch, taken = self._taken if self._loader is None else (self._loader.epoch, self._loader.taken())
        pace = self.pace()
        progress = 0.0 if pace is None else pace.progress(self.trainer.global_step)
        return {
            "checksums": self.records.checksums,
            "epoch": epoch,
            "taken": [list(share) for share in taken],
            "processes": self.processes,
            "pace": [list(point) for point in self._pace],
            "now": [self.trainer.global_step, progress],
            **self._order(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that the data are those the run began with; begin at the batch where it stopped.

        With another number of processes the frames of the epoch that are left are shared anew.

        Raises:
            InputError: a file has changed, or another split, batch size or seed is asked for.
        """
        began = state_dict["checksums"]
        for name, now in self.records.checksums.items():
            if name not in self.records.files and name not in began:
                continue  # an earlier version began the run, which did not keep these
            if began.get(name) != now:
                raise InputError(
                    f"{self.records.all_files[name]} is not the {name} file this run began with (its SHA-256 differs); "
                    "restore the file, or start a new run without --ckpt_path"
                )
        for key, value in self._order().items():
            if state_dict.get(key, value) != value:  # a setting younger than the checkpoint is by default as before
                raise InputError(
                    f"data.{key} is {value}, but this run began with {state_dict[key]}; "
                    "keep it to resume, or start a new run without --ckpt_path"
                )
        self._taken = (state_dict["epoch"], tuple(Share(*share) for share in state_dict["taken"]))
        self._pace = tuple((step, progress) for step, progress in state_dict["pace"])
        if state_dict["processes"] != self.processes:
            step, progress = state_dict["now"]
            self._pace = (*self._pace, (step, progress))
            _say_processes_changed(state_dict["processes"], self.processes, step)

    def _order(self) -> dict[str, Any]:
        """Settings that decide which frame is met when."""
        names = ("val_fraction", "n_train", "split_seed", "cutoff", "priors")
        values = {name: getattr(self.records, name) for name in names} | {
            "seed": self.seed,
            "batch_size": self.budget.structures,
            "max_atoms": self.budget.atoms,
            "max_edges": self.budget.edges,
        }
        parts = {"weights": self.weights} | {name: getattr(self.records, name) for name in ("replay", "keys", "modals")}
        for part, settings in parts.items():
            values |= {f"{part}.{name}": value for name, value in asdict(settings).items()}
        return values


@rank_zero_only
def _say_processes_changed(before: int, now: int, step: int) -> None:
    sys.stdout.write(
        f"resuming at step {step} with {now} processes instead of {before}: frames that this epoch has not met yet are "
        f"shared anew, a step now takes {now} batches instead of {before}, and the schedules of learning rate and loss "
        "are stretched to end with the run; the result is not that of an uninterrupted run\n"
    )
