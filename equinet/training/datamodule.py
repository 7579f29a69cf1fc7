"""The data of a run: files to records, validation split, statistics, loaders.

The constructor's arguments are the ``data:`` part of a configuration file.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from equinet.data import (
    LabelKeys,
    Modals,
    Record,
    RecordSet,
    Statistics,
    compute_statistics,
    read_records,
    samples,
    separate_isolated_atoms,
    split_records,
    statistics_of_modals,
)
from equinet.errors import InputError
from equinet.files import sha256
from equinet.training.batch import Batch, SourcedExamples, collate_batch
from equinet.training.finetuning import FineTuning, Replay, Start, new_records, replayed, start_from
from equinet.training.sampling import EpochOrder, ResumableBatches, ResumableLoader


class AtomicDataModule(LightningDataModule):
    """Labelled structures for training and validation.

    Args:
        train_path: file to train on, any format ASE reads; overrides ``sample``.
        val_path: file to validate on; without it a part of the training file is split off.
        sample: name of a data set that ships with the package ("glycol", "silicon").
        val_fraction: share of the frames split off where there is no validation file.
        n_train: train on this many frames only, drawn at random; null for all.
        split_seed: of the validation split and of ``n_train``.
        keys: names of the keys that hold the labels; null finds them.
        priors: energy per atom in eV by element, for E0s that must be fitted; null takes the mean of the data.
        batch_size: structures per optimiser step.
        val_batch_size: structures per validation batch; null for twice ``batch_size``.
        num_workers: processes that build batches; 0 builds them in the training process.
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
        batch_size: int = 5,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        modal_key: str = "modal",
        replay: Replay = Replay(),  # noqa: B008
        cutoff: float = 5.0,
        modals: list[str] | None = None,
        finetune: FineTuning | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("val_batch_size", val_batch_size), ("n_train", n_train)):
            if value is not None and value < 1:
                raise InputError(f"data.{name} is {value}; it must be at least 1")
        if train_path is None and sample is None:
            raise InputError(
                f"no data to train on; give data.train_path FILE, or data.sample ({', '.join(samples.NAMES)})"
            )
        if train_path is None and val_path is not None:
            raise InputError("data.val_path goes with data.train_path; a sample has its own validation set")
        if train_path is None and sample not in samples.NAMES:
            raise InputError(f"data.sample is {sample!r}; the samples are {', '.join(samples.NAMES)}")
        finetune = finetune or FineTuning()
        if replay.path is not None and finetune.parent is None:
            raise InputError("data.replay is of a parent's training data; give model.finetune.parent, or leave it out")
        self.replay = replay
        self.finetune = finetune
        self.train_path = train_path
        self.val_path = val_path
        self.sample = sample if train_path is None else None
        self.val_fraction = val_fraction
        self.n_train = n_train
        self.split_seed = split_seed
        self.keys = keys
        self.priors = priors
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or 2 * batch_size
        self.num_workers = num_workers
        self.cutoff = cutoff
        self.modals = Modals(tuple(modals or ()), modal_key)
        self.seed = seed
        self._loader: ResumableLoader | None = None
        self._resume_at: dict[str, int] | None = None

    @cached_property
    def files(self) -> dict[str, Path]:
        """The files in use: "train" and, where validation has a file of its own, "val"."""
        if self.sample is not None:
            return {split: samples.path(self.sample, split) for split in ("train", "val")}
        files = {"train": Path(str(self.train_path))}
        return files | {"val": Path(self.val_path)} if self.val_path else files

    @cached_property
    def record_sets(self) -> dict[str, RecordSet]:
        """What was read from each file, with the report of how."""
        return {name: read_records(path, self.keys) for name, path in self.files.items()}

    @cached_property
    def _splits(self) -> tuple[list[Record], list[Record]]:
        train: Sequence[Record] = self.record_sets["train"]
        if "val" in self.record_sets:
            validation = separate_isolated_atoms(self.record_sets["val"])[1]
            if not validation:
                raise InputError(f"{self.files['val']}: no frames to validate on (isolated atoms do not count)")
        else:
            train, validation = split_records(train, self.val_fraction, self.split_seed)
        isolated, train = separate_isolated_atoms(train)
        if self.n_train is not None:
            if self.n_train > len(train):
                raise InputError(f"data.n_train is {self.n_train}, but there are {len(train)} frames to train on")
            chosen = np.random.default_rng(self.split_seed).permutation(len(train))[: self.n_train]
            train = [train[i] for i in sorted(chosen.tolist())]
        name = self.files["train"].stem
        return (
            new_records([*isolated, *train], name, self.finetune, self.modals),
            new_records(validation, name, self.finetune, self.modals),
        )

    @cached_property
    def start(self) -> Start | None:
        """The potential that a fine-tuning starts from, fitted to the frames to train on; the model takes it over."""
        return None if self.finetune.parent is None else start_from(self.finetune, self.own_records, self.modals)

    @cached_property
    def replayed(self) -> list[Record]:
        """Frames of the parent's training data that are trained on as well."""
        if self.start is None or self.replay.path is None:
            return []
        new = len(separate_isolated_atoms(self.own_records)[1])
        return replayed(self.replay, self.start, self.finetune, new, self.modals, self.split_seed)

    @property
    def train_records(self) -> list[Record]:
        """Frames to train on, after isolated atoms (which give E0 alone); replayed ones come last."""
        return self.own_records + self.replayed

    @property
    def own_records(self) -> list[Record]:
        """The same without replayed ones."""
        return self._splits[0]

    @property
    def val_records(self) -> list[Record]:
        """Frames to validate on."""
        return self._splits[1]

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training records, replayed ones left out; the model is built from them."""
        records = self.own_records
        if self.modals.names:
            modals = self.modals
            if self.finetune.parent is not None:  # which may know levels that the new data lack
                met = {modals.index(record) for record in records}
                modals = replace(modals, names=tuple(name for i, name in enumerate(modals.names) if i in met))
            statistics = statistics_of_modals(records, self.cutoff, modals, self.priors)
        else:
            statistics = compute_statistics(records, self.cutoff, self.priors)
        for record in self.val_records:
            self.modals.index(record)  # raises where the frame does not say
            unknown = sorted(set(record.numbers.tolist()) - set(statistics.species))
            if unknown:
                raise InputError(
                    f"{record.source}: validation has the atomic number {unknown[0]}, which no training frame has; "
                    "add such frames to the training data or remove it from validation"
                )
        return statistics

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: sha256(path) for name, path in self.files.items()}

    def split_sources(self) -> dict[str, list[str]]:
        """Which frames are trained and validated on, by source."""
        return {
            "train": [record.source for record in self.train_records],
            "val": [record.source for record in self.val_records],
        }

    @cached_property
    def _train_examples(self) -> SourcedExamples:
        return SourcedExamples(separate_isolated_atoms(self.train_records)[1], self.cutoff, self.modals)

    @cached_property
    def _val_examples(self) -> SourcedExamples:
        return SourcedExamples(self.val_records, self.cutoff, self.modals)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches; the order depends on (seed, epoch) alone."""
        order = EpochOrder(len(self._train_examples), self.seed)
        batches = ResumableBatches(order, self.batch_size)
        self._loader = ResumableLoader(
            self._train_examples, batches, collate_fn=collate_batch, num_workers=self.num_workers
        )
        if self._resume_at is not None:
            self._loader.load_state_dict(self._resume_at)
        return self._loader

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches in the order of the file."""
        return DataLoader(
            self._val_examples,  # type: ignore[arg-type]
            batch_size=self.val_batch_size,
            collate_fn=collate_batch,
            num_workers=self.num_workers,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must find unchanged, and where in the epoch it goes on.

        The position travels here and not only in Lightning's loop state: Lightning forgets that one when the loader is
        made before the loops are restored, as happens for every schedule that depends on the number of steps.
        """
        position = None if self._loader is None else self._loader.state_dict()
        return {"checksums": self.checksums, "loader": position, **self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that the data are those the run began with; begin at the batch where it stopped.

        Raises:
            InputError: a file has changed, or another split, batch size or seed is asked for.
        """
        for name, checksum in self.checksums.items():
            if state_dict["checksums"].get(name) != checksum:
                raise InputError(
                    f"{self.files[name]} is not the {name} file this run began with (its SHA-256 differs); "
                    "restore the file, or start a new run without --ckpt_path"
                )
        for key, value in self._order().items():
            if state_dict[key] != value:
                raise InputError(
                    f"data.{key} is {value}, but this run began with {state_dict[key]}; "
                    "keep it to resume, or start a new run without --ckpt_path"
                )

        self._resume_at = state_dict["loader"]

    def _order(self) -> dict[str, Any]:
        """Settings that decide which frame is met when."""
        names = ("val_fraction", "n_train", "split_seed", "batch_size", "seed", "cutoff")
        values = {name: getattr(self, name) for name in names}
        return values | {
            "keys": asdict(self.keys),
            "priors": self.priors,
            "modals": asdict(self.modals),
            "replay": asdict(self.replay),
        }
