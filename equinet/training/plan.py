"""Which frames make up which batch of an epoch: a pure function of sizes, budget, seed, epoch and number of processes.

An epoch is a sequence of steps; in each, every process has one batch. No frame is lost or met twice, all processes have
equally many batches, and those of one step cost about the same. A process for which nothing is left in a last step has
an empty batch there.
"""

import bisect
import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.int64]

WINDOW = 4_096
"""Frames among which a batch looks for those that fill it. Large windows fill better, small ones mix better."""


@dataclass(frozen=True)
class Plan:
    """The batches of an epoch, or of what is left of one.

    Attributes:
        frames: numbers of frames, batch after batch.
        bounds: [steps * processes + 1], where each batch begins in ``frames``; processes of one step are neighbours.
        processes: how many there are.
    """

    frames: Frames
    bounds: Frames
    processes: int

    def __len__(self) -> int:
        return (len(self.bounds) - 1) // self.processes

    def batch(self, step: int, process: int) -> Frames:
        """Frames of one process in one step; empty where nothing is left for it."""
        first = step * self.processes + process
        return self.frames[self.bounds[first] : self.bounds[first + 1]]

    def steps(self, first: int, last: int) -> Frames:
        """Frames of all processes in the steps first <= step < last."""
        return self.frames[self.bounds[first * self.processes] : self.bounds[last * self.processes]]

    def after(self, step: int) -> Frames:
        """Frames of that step and all later ones."""
        return self.frames[self.bounds[min(step, len(self)) * self.processes] :]


def plan_by_count(order: Frames, load: NDArray[np.int64], batch_size: int, processes: int) -> Plan:
    """Batches of at most ``batch_size`` frames in the order given; the processes of a step share its load evenly.

    Args:
        order: frames to be met, in this order.
        load: what each frame costs (edges or atoms), by number of frame.
        batch_size: frames per process and step.
        processes: how many.
    """
    if processes == 1:
        bounds = np.append(np.arange(0, len(order), batch_size), len(order))
        return Plan(order, bounds, 1)
    steps = [order[i : i + batch_size * processes] for i in range(0, len(order), batch_size * processes)]
    return _plan([_share(step, load, processes, batch_size) for step in steps], processes)


def plan_by_cost(
    order: Frames, cost: NDArray[np.float64], load: NDArray[np.int64], processes: int, rng: np.random.Generator | None
) -> Plan:
    """Batches whose costs sum to at most 1: best fit, largest first, among the frames of a window.

    Args:
        order: frames to be met; windows are cut from it.
        cost: of each frame, in parts of a batch's budget, by number of frame; none above 1.
        load: what each frame costs (edges or atoms), by number of frame; to give the processes of a step equal work.
        processes: how many.
        rng: shuffles the steps; None leaves them in the order in which they were packed.
    """
    batches: list[Frames] = []
    for start in range(0, len(order), WINDOW):
        batches += _pack(order[start : start + WINDOW], cost)
    if processes > 1:  # neighbours in load make up a step
        batches.sort(key=lambda batch: -int(load[batch].sum()))
    groups = [batches[i : i + processes] for i in range(0, len(batches), processes)]
    if groups and len(groups[-1]) < processes:
        groups[-1] = _split(groups[-1], load, processes)
    if rng is not None:
        groups = [groups[i] for i in rng.permutation(len(groups)).tolist()]
    return _plan(groups, processes)


def _pack(window: Frames, cost: NDArray[np.float64]) -> list[Frames]:
    rows = window[np.argsort(-cost[window], kind="stable")]
    batches: list[list[int]] = []
    room: list[tuple[float, int]] = []  # ascending: (what is left, number of batch)
    for frame, size in zip(rows.tolist(), cost[rows].tolist(), strict=True):
        place = bisect.bisect_left(room, (size - 1e-9, -1))
        if place == len(room):
            batches.append([frame])
            bisect.insort(room, (1.0 - size, len(batches) - 1))
        else:
            left, number = room.pop(place)
            batches[number].append(frame)
            bisect.insort(room, (left - size, number))
    return [np.array(batch, dtype=np.int64) for batch in batches]


def _split(batches: list[Frames], load: NDArray[np.int64], processes: int) -> list[Frames]:
    """A batch for each process from fewer: parts of a batch are within every budget, as mixtures need not be."""
    loads = [int(load[batch].sum()) for batch in batches]
    parts = [1] * len(batches)
    while sum(parts) < processes:
        heaviest = max(range(len(batches)), key=lambda i: (parts[i] < len(batches[i]), loads[i] / parts[i]))
        parts[heaviest] += 1  # of single frames alone, some processes get none
    return [part for batch, count in zip(batches, parts, strict=True) for part in _share(batch, load, count, None)]


def _share(step: Frames, load: NDArray[np.int64], processes: int, most: int | None) -> list[Frames]:
    """Divide a step's frames: the heaviest first, each to the process with the least load so far and room for it."""
    most = len(step) if most is None else most
    free = [(0, process) for process in range(processes)]
    shares: list[list[int]] = [[] for _ in range(processes)]
    for position in np.argsort(-load[step], kind="stable").tolist():
        total, process = heapq.heappop(free)
        shares[process].append(position)
        if len(shares[process]) < most:
            heapq.heappush(free, (total + int(load[step[position]]), process))
    return [step[np.array(sorted(share), dtype=np.int64)] for share in shares]


def _plan(groups: list[list[Frames]], processes: int) -> Plan:
    batches = [batch for group in groups for batch in group]
    lengths = np.array([0, *(len(batch) for batch in batches)], dtype=np.int64)
    frames = np.concatenate(batches) if batches else np.zeros(0, dtype=np.int64)
    return Plan(frames, np.cumsum(lengths), processes)
