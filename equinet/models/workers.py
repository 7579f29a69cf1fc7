"""A potential on several devices at once, each with a thread of its own; results come in the order of the batches.

Threads suffice: a thread that waits for a device, or for a compiled kernel, holds nobody up.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TypeVar

import torch

from equinet.errors import InputError
from equinet.graph import AtomicGraph
from equinet.models.inference import Result, evaluating, predict_batch
from equinet.models.placement import available_device
from equinet.models.potential import Potential

Item = TypeVar("Item")
Answer = TypeVar("Answer")

AHEAD = 2
"""Items for each thread that wait or are worked on."""


class Workers:
    """Copies of a potential, one for each device named, all of one kind; one may be named several times.

    Args:
        potential: used itself where it is on one of the devices; in eval mode while it works, its mode is restored.
        devices: "cpu", "cuda:0", ...; none for the one it is on.

    Raises:
        InputError: a device that is not there; devices of different kinds.
    """

    def __init__(self, potential: Potential, devices: Sequence[str | torch.device] | None = None) -> None:
        here = potential.scale.device
        self.devices = [_numbered(available_device(device)) for device in devices] if devices else [here]
        if len({device.type for device in self.devices}) > 1:
            raise InputError("devices of different kinds give numbers that differ by rounding; name those of one kind")
        self.potentials: list[Potential] = []
        for device in self.devices:
            own = device == here and not any(known is potential for known in self.potentials)
            self.potentials.append(potential if own else copy.deepcopy(potential).to(device))

    def predict(self, batches: Iterable[list[AtomicGraph]]) -> Iterator[list[Result]]:
        """Results of batch after batch."""
        with ExitStack() as stack:
            free: SimpleQueue[Potential] = SimpleQueue()
            for potential in self.potentials:
                stack.enter_context(evaluating(potential))
                free.put(potential)

            def work(batch: list[AtomicGraph]) -> list[Result]:
                potential = free.get()
                try:
                    return predict_batch(potential, batch)
                finally:
                    free.put(potential)

            yield from in_order(work, batches, len(self.potentials))


def _numbered(device: torch.device) -> torch.device:
    """ "cuda" as the potential on it says it, with a number."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def in_order(work: Callable[[Item], Answer], items: Iterable[Item], threads: int) -> Iterator[Answer]:
    """``map`` with threads, and a few items ahead; with one thread it is ``map``.

    Where getting an item fails, the answers to those before it are given first.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Answer]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(threads) as pool:
        try:
            source = iter(items)
            while failure is None:
                try:
                    waiting.append(pool.submit(work, next(source)))
                except StopIteration:
                    break
                except Exception as error:  # of the source: it is the caller's, who sees it below
                    failure = error
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if failure is not None:
        raise failure
