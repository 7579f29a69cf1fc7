"""Batches whose order is a pure function of (seed, epoch), and a loader that can go on from the middle of an epoch."""

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Sampler


class EpochOrder(Sampler[int]):
    """A permutation of ``range(size)`` that depends on (seed, epoch) and on nothing that happened before.

    Lightning calls :meth:`set_epoch` at the start of every epoch, resumed or not.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng((self.seed, self.epoch)).permutation(self.size).tolist())

    def __len__(self) -> int:
        return self.size


class ResumableBatches(BatchSampler):
    """Batches of indices; the pass over one epoch can begin after batches that were handed out before."""

    def __init__(self, order: EpochOrder, batch_size: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self.order = order
        self.done: dict[int, int] = {}  # epoch -> batches to leave out

    def __iter__(self) -> Iterator[list[int]]:
        skip = self.done.get(self.order.epoch, 0)
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                yield batch


class ResumableLoader(DataLoader):
    """A DataLoader that knows how many batches of this epoch it has handed out, and can begin after them.

    The length stays that of the whole epoch, so that a resumed epoch ends where an uninterrupted one does.
    """

    def __init__(self, dataset: Sized, batch_sampler: ResumableBatches, **kwargs: Any) -> None:
        super().__init__(dataset, batch_sampler=batch_sampler, **kwargs)  # type: ignore[arg-type]
        self.batches = batch_sampler
        self.position = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: workers start, and the order is drawn, at the first batch, when the epoch has been set.
        self.position = self.batches.done.get(self.batches.order.epoch, 0)
        for batch in super().__iter__():
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were handed out."""
        return {"epoch": self.batches.order.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the batches of that epoch that were handed out already; other epochs are whole."""
        self.batches.done = {state["epoch"]: state["position"]}
