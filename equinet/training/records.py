"""Which frames a run trains and validates on: files to records, the validation split, what fine-tuning adds."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.data import (
    LabelKeys,
    Modals,
    ReadReport,
    Record,
    RecordSet,
    Statistics,
    Store,
    Subset,
    checksum,
    compute_statistics,
    edge_counts,
    isolated_indices,
    open_records,
    reading,
    samples,
    split_indices,
    statistics_of_modals,
    store_of,
)
from equinet.data.store.checksums import VERIFIED_BYTES, verify_checksums
from equinet.errors import InputError
from equinet.files import content_sha256
from equinet.training.finetuning import FineTuning, Replay, Start, new_records, replayed, start_from


def files_of_run(train_path: str | None, val_path: str | None, sample: str | None) -> dict[str, Path]:
    """The files in use: "train" and, where validation has a file of its own, "val".

    Args:
        train_path: file to train on; overrides the sample.
        val_path: file to validate on.
        sample: name of a data set that ships with the package.

    Raises:
        InputError: neither a file nor a sample named, or what does not go together.
    """
    if train_path is not None:
        return {"train": Path(train_path)} | ({"val": Path(val_path)} if val_path else {})
    if sample is None:
        raise InputError(f"no data to train on; give data.train_path FILE, or data.sample ({', '.join(samples.NAMES)})")
    if val_path is not None:
        raise InputError("data.val_path goes with data.train_path; a sample has its own validation set")
    if sample not in samples.NAMES:
        raise InputError(f"data.sample is {sample!r}; the samples are {', '.join(samples.NAMES)}")
    return {split: samples.path(sample, split) for split in ("train", "val")}


class RunRecords:
    """The frames of a run. Files are read, and complaints about them raised, when something of them is first asked for.

    Args:
        files: "train" and, where validation has a file of its own, "val".
        keys: names of the keys that hold the labels.
        val_fraction: share of the frames split off where there is no validation file.
        n_train: train on this many frames only, drawn at random; None for all.
        split_seed: of the validation split and of ``n_train``.
        cutoff: Angstrom.
        priors: energy per atom in eV by element, for E0s that must be fitted; None takes the mean of the data.
        modals: levels of theory.
        finetune: how a run starts from a parent, if it does.
        replay: structures of the parent's training data, trained on beside these.

    Raises:
        InputError: replay without a parent.
    """

    def __init__(
        self,
        files: dict[str, Path],
        *,
        keys: LabelKeys,
        val_fraction: float,
        n_train: int | None,
        split_seed: int,
        cutoff: float,
        priors: dict[str, float] | None,
        modals: Modals,
        finetune: FineTuning,
        replay: Replay,
    ) -> None:
        if replay.path is not None and finetune.parent is None:
            raise InputError("data.replay is of a parent's training data; give model.finetune.parent, or leave it out")
        self.files = files
        self.keys = keys
        self.val_fraction = val_fraction
        self.n_train = n_train
        self.split_seed = split_seed
        self.cutoff = cutoff
        self.priors = priors
        self.modals = modals
        self.finetune = finetune
        self.replay = replay

    @cached_property
    def _opened(self) -> dict[str, RecordSet | Store | Subset]:
        """What each file holds; a store stays on disk, and is compared with its checksums where that takes seconds."""
        opened = {name: open_records(path, self.keys) for name, path in self.files.items()}
        stores = {store.path: store for store in map(store_of, opened.values()) if store is not None}
        for store in stores.values():
            if sum(shard.bytes for shard in store.manifest.shards) <= VERIFIED_BYTES:
                verify_checksums(store)
        return opened

    @property
    def sets(self) -> list[Sequence[Record]]:
        """All records: of each file, also those that are not used; in fine-tuning those marked and replayed."""
        marked = [] if self.finetune.parent is None else [self.train]
        return [*self._opened.values(), *marked]

    @cached_property
    def readings(self) -> dict[str, ReadReport]:
        """How each file was read."""
        return {name: reading(records, self.files[name]) for name, records in self._opened.items()}

    @property
    def all_files(self) -> dict[str, Path]:
        """All files that decide what is learnt: beside :attr:`files`, those of "replay" and "parent" in fine-tuning."""
        others = {"replay": self.replay.path, "parent": self.finetune.parent}
        return self.files | {name: Path(path) for name, path in others.items() if path is not None}

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of each of :attr:`all_files`; of a store's manifest."""
        return {
            name: checksum(self._opened[name], path) if name in self._opened else content_sha256(path)
            for name, path in self.all_files.items()
        }

    @cached_property
    def _splits(self) -> tuple[Subset, Subset]:
        source = self._opened["train"]
        if "val" in self._opened:
            validation = Subset(self._opened["val"], isolated_indices(self._opened["val"])[1])
            if not len(validation):
                raise InputError(f"{self.files['val']}: no frames to validate on (isolated atoms do not count)")
            own = np.arange(len(source))
        else:
            own, others = split_indices(source, self.val_fraction, self.split_seed)
            validation = Subset(source, others)
        isolated, train = isolated_indices(Subset(source, own))
        if self.n_train is not None:
            if self.n_train > len(train):
                raise InputError(f"data.n_train is {self.n_train}, but there are {len(train)} frames to train on")
            chosen = np.random.default_rng(self.split_seed).permutation(len(train))[: self.n_train]
            train = train[np.sort(chosen)]
        return self._marked(Subset(source, own[np.concatenate([isolated, train])])), self._marked(validation)

    def _marked(self, records: Subset) -> Subset:
        """In fine-tuning, records that say which data set and level of theory they are of; in memory."""
        if self.finetune.parent is None:
            return records
        return _in_memory(new_records(records, self.files["train"].stem, self.finetune, self.modals))

    @property
    def own(self) -> Subset:
        """Frames of the training file to train on, after isolated atoms (which give E0 alone)."""
        return self._splits[0]

    @property
    def val(self) -> Subset:
        """Frames to validate on."""
        return self._splits[1]

    @cached_property
    def start(self) -> Start | None:
        """The potential that a fine-tuning starts from, fitted to the frames to train on; the model takes it over."""
        if self.finetune.parent is None:
            return None
        return start_from(self.finetune, self.own, self.modals, replays=self.replay.path is not None)

    @cached_property
    def replayed(self) -> list[Record]:
        """Frames of the parent's training data that are trained on as well."""
        if self.start is None or self.replay.path is None:
            return []
        new = len(isolated_indices(self.own)[1])
        return replayed(self.replay, self.start, self.finetune, new, self.modals, self.split_seed)

    @cached_property
    def _all(self) -> Subset:
        """The training file's own frames and replayed ones, which come last."""
        return _in_memory([*self.own, *self.replayed]) if self.replayed else self.own

    @cached_property
    def train(self) -> Subset:
        """The frames that batches are made of: own ones without isolated atoms, then replayed ones."""
        return Subset(self._all, isolated_indices(self._all)[1])

    @cached_property
    def train_edges(self) -> NDArray[np.int64]:
        """Edges of each frame that batches are made of, [F]."""
        return edge_counts(self.train, self.cutoff)

    @cached_property
    def val_edges(self) -> NDArray[np.int64]:
        """Edges of each frame to validate on, [F]."""
        return edge_counts(self.val, self.cutoff)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training file's own frames; the model is built from them.

        Raises:
            InputError: validation has an element that no training frame has; a frame does not say its level of theory.
        """
        if self.modals.names:
            modals = self.modals
            if self.finetune.parent is not None:  # which may know levels that the new data lack
                met = set(modals.indices(self.own).tolist())
                modals = replace(modals, names=tuple(name for i, name in enumerate(modals.names) if i in met))
            statistics = statistics_of_modals(self.own, self.cutoff, modals, self.priors)
        else:
            statistics = compute_statistics(self.own, self.cutoff, self.priors)
        self.modals.indices(self.val)
        unknown = sorted(set(self.val.species()) - set(statistics.species))
        if unknown:
            first = self.val[int(self.val.structures_with(unknown[0])[0])]
            raise InputError(
                f"{first.source}: validation has the atomic number {unknown[0]}, which no training frame has; "
                "add such frames to the training data or remove it from validation"
            )
        return statistics

    def sources(self) -> dict[str, Any]:
        """Which frames are trained and validated on: by source, or how they were drawn where they lie in a store."""
        return {"train": _sources(self._all), "val": _sources(self.val)}


def _sources(records: Subset) -> Any:
    store = store_of(records)
    if store is None:
        return [record.source for record in records]
    return {
        "store": str(store.path),
        "fingerprint": store.fingerprint,
        "frames": len(records),
        "indices_sha256": hashlib.sha256(records.indices.tobytes()).hexdigest(),
    }


def _in_memory(records: list[Record]) -> Subset:
    """Records as a set of which parts can be taken."""
    return Subset(records, np.arange(len(records)))
