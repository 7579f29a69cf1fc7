"""Batches of an epoch as planned, from any step on, for one of several processes; and the loader that builds them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from equinet.data import Columns
from equinet.errors import InputError
from equinet.training.plan import Frames, Plan, plan_by_cost, plan_by_count


@dataclass(frozen=True)
class Budget:
    """What one batch of one process may hold; None is no limit. At least one is given."""

    structures: int | None = None
    atoms: int | None = None
    edges: int | None = None

    def times(self, factor: int) -> "Budget":
        """Larger in every respect."""
        scaled = (None if limit is None else factor * limit for limit in (self.structures, self.atoms, self.edges))
        return Budget(*scaled)


class Share(NamedTuple):
    """Steps of an epoch that were taken by so many processes."""

    processes: int
    steps: int


class Turns(NamedTuple):
    """Frames that are not met in every epoch."""

    first: int  # they are this one and all after it
    each: int  # of them that an epoch meets; the next meets the next so many


class Planner:
    """Plans of all epochs of a training set.

    Args:
        sizes: of its frames.
        edges: [F] of its frames; None where no budget of edges is given and one process has them all.
        budget: of one batch of one process.
        seed: of the order.
        name: what a frame is called, by its number.
        turns: where not all frames are met in every epoch.

    Raises:
        InputError: a frame that exceeds the budget alone.
    """

    def __init__(
        self,
        sizes: Columns,
        edges: NDArray[np.int64] | None,
        budget: Budget,
        seed: int,
        name: Callable[[int], str] = "frame {}".format,
        turns: Turns | None = None,
    ) -> None:
        self.sizes = sizes
        self.seed = seed
        self.turns = turns
        self.budget = budget
        self.load = sizes.atoms if edges is None else edges
        self._cost = self._costs(edges, name)

    def _costs(self, edges: NDArray[np.int64] | None, name: Callable[[int], str]) -> NDArray[np.float64] | None:
        limits = [("atoms", self.sizes.atoms, self.budget.atoms), ("edges", edges, self.budget.edges)]
        if all(limit is None for _, _, limit in limits):
            return None
        cost = np.full(len(self.sizes.atoms), 0.0 if self.budget.structures is None else 1.0 / self.budget.structures)
        for what, counts, limit in limits:
            if limit is None or not len(cost):
                continue
            assert counts is not None
            worst = int(np.argmax(counts))
            if counts[worst] > limit:
                raise InputError(
                    f"{name(worst)} has {counts[worst]} {what}, more than data.max_{what}, which is {limit}; raise "
                    f"it to {counts[worst]} at least, or leave such structures out"
                )
            cost = np.maximum(cost, counts / limit)
        return cost

    def plan(self, epoch: int, processes: int, done: Sequence[Share] = ()) -> Plan:
        """The batches of an epoch, without the steps that earlier parts of it took with other numbers of processes."""
        frames = self.met(epoch)
        for part, share in enumerate(done):
            frames = np.sort(self._shuffled(frames, epoch, part, share.processes).after(share.steps))
        return self._shuffled(frames, epoch, len(done), processes)

    def met(self, epoch: int) -> Frames:
        """Frames of an epoch, ascending."""
        everything = np.arange(len(self.sizes.atoms))
        if self.turns is None:
            return everything
        first, each = self.turns
        waiting = np.random.default_rng((self.seed, len(everything))).permutation(everything[first:])
        taken = waiting.take(np.arange(epoch * each, (epoch + 1) * each), mode="wrap")
        return np.concatenate([everything[:first], np.sort(taken)])

    def _shuffled(self, frames: Frames, epoch: int, part: int, processes: int) -> Plan:
        rng = np.random.default_rng((self.seed, epoch, part) if part else (self.seed, epoch))
        return self._cut(frames[rng.permutation(len(frames))], processes, rng)

    def in_order(self, processes: int) -> Plan:
        """The batches of a set that is not shuffled."""
        return self._cut(np.arange(len(self.sizes.atoms)), processes, None)

    def _cut(self, order: Frames, processes: int, rng: np.random.Generator | None) -> Plan:
        if self._cost is None:
            assert self.budget.structures is not None
            return plan_by_count(order, self.load, self.budget.structures, processes)
        return plan_by_cost(order, self._cost, self.load, processes, rng)


class PlannedBatch(NamedTuple):
    """What a loader's worker is asked to build."""

    frames: Frames
    totals: NDArray[np.int64]  # [3] labelled energies, atoms with forces, stresses in the whole optimiser step
    counts: bool  # False: the frames stand in for a batch that has none, and must not count


class EpochBatches(Sampler[PlannedBatch]):
    """Batches of one process over one epoch, from any step on.

    Args:
        planner: of the training set.
        epoch: number of the epoch; None for frames in their own order.
        processes: how many share it.
        process: number of this one.
        taken: what earlier parts of the run took of this epoch.
        accumulate: batches that make one optimiser step.
        limit: batches after which the epoch ends early, or the share of its batches.
    """

    def __init__(
        self,
        planner: Planner,
        epoch: int | None,
        processes: int = 1,
        process: int = 0,
        taken: Sequence[Share] = (),
        accumulate: int = 1,
        limit: float = 1.0,
    ) -> None:
        goes_on = bool(taken) and taken[-1].processes == processes
        self.earlier = tuple(taken[:-1] if goes_on else taken)
        self.first = taken[-1].steps if goes_on else 0
        self.epoch = epoch
        self.process = process
        self.accumulate = accumulate
        self.plan = planner.in_order(processes) if epoch is None else planner.plan(epoch, processes, self.earlier)
        self._before = sum(share.steps for share in self.earlier)
        self.end = min(limit, len(self)) if isinstance(limit, int) else int(limit * len(self))
        self._labels = planner.sizes.label_counts()

    def __iter__(self) -> Iterator[PlannedBatch]:
        for step in range(self.first, len(self.plan)):
            yield self[step]

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of a step of the plan."""
        window = step // self.accumulate * self.accumulate
        together = self.plan.steps(window, max(step + 1, min(window + self.accumulate, self.end - self._before)))
        own = self.plan.batch(step, self.process)
        frames = own if len(own) else self.plan.steps(step, step + 1)[:1]
        return PlannedBatch(frames, self._labels[together].sum(axis=0), counts=bool(len(own)))

    def __len__(self) -> int:
        """Of the whole epoch, so that one that is gone on with ends where an uninterrupted one does."""
        return self._before + len(self.plan)


class BatchLoader(DataLoader):
    """Builds the batches of an epoch, in worker processes or here, and knows how many it has handed out.

    Args:
        dataset: builds a batch from its plan.
        batches: of the epoch.
        num_workers: processes that build them; 0 for this one.
    """

    def __init__(self, dataset: Dataset[Any], batches: EpochBatches, num_workers: int = 0) -> None:
        pin = torch.cuda.is_available()
        super().__init__(dataset, sampler=batches, batch_size=None, num_workers=num_workers, pin_memory=pin)
        self.batches = batches
        self._steps = batches.first

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._steps = self.batches.first
        for batch in super().__iter__():
            self._steps += 1  # what workers have built ahead does not count
            yield batch

    @property
    def epoch(self) -> int:
        """Whose batches they are."""
        return self.batches.epoch or 0

    def taken(self) -> tuple[Share, ...]:
        """What has been taken of this epoch so far."""
        return (*self.batches.earlier, Share(self.batches.plan.processes, self._steps))
