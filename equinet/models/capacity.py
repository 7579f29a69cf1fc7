"""How large a batch of structures a device's memory holds when a potential predicts: measured on the structures."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle

import torch

from equinet.graph import AtomicGraph
from equinet.memory import measured, there
from equinet.models.inference import MAX_EDGES, BatchLimits, evaluating, predict_in_memory
from equinet.models.potential import Potential

MEMORY_FRACTION = 0.8
"""Share of the memory that batches may take: other structures leave other fragments."""
SMALLEST = MAX_EDGES // 10
"""Edges of the first batch tried."""
LARGEST = 20_000_000
"""Edges that no batch exceeds, whatever the memory: a batch is what a kill loses, and the first sign of life."""


def fitting_limits(
    potential: Potential,
    sample: Sequence[AtomicGraph],
    devices: Sequence[torch.device],
    fraction: float = MEMORY_FRACTION,
) -> BatchLimits:
    """Measure batches of growing size, and say what may be in one.

    Edges and atoms are both bounded, in the proportion of the sample: structures with fewer edges at their atoms, which
    are met later, take no more than what was measured.

    Args:
        potential: on the first of the devices.
        sample: structures as they are to be predicted, repeated where they are few.
        devices: that work at once, of one kind; a CPU named twice shares its memory.
        fraction: of each device's memory.

    Returns:
        Limits of edges and atoms; the fixed ones where the sample has no edges to go by.

    Raises:
        InputError: the system does not say what memory a process takes; an element the potential does not know.
    """
    edges, atoms = (sum(len(getattr(graph, name)) for graph in sample) for name in ("senders", "numbers"))
    if not edges:
        return BatchLimits()

    def work(size: int) -> Callable[[], object]:
        batch: list[AtomicGraph] = []
        found = 0
        for graph in cycle(sample):
            batch.append(graph)
            found += len(graph.senders)
            if found >= size:
                return lambda: predict_in_memory(potential, batch)
        raise AssertionError("a cycle has no end")

    limit = int(fraction * min(there(device, count) for device, count in Counter(devices).items()))
    with evaluating(potential):
        growth = measured(devices[0], work, SMALLEST, LARGEST, limit)
    largest = min(growth.largest(limit), LARGEST)
    digits = 10 ** max(0, len(str(largest)) - 3)  # three of them: more would be noise
    largest = max(1, largest // digits * digits)
    return BatchLimits(edges=largest, atoms=max(1, largest * atoms // edges))
