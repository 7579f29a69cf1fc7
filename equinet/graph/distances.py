"""How near atoms come to each other."""

from typing import NamedTuple

import torch

from equinet.graph.atomic_graph import AtomicGraph


class NearestPair(NamedTuple):
    """The two atoms that are nearest to each other."""

    distance: float  # Angstrom
    numbers: tuple[int, int]  # atomic numbers, ascending


def nearest_pair(graph: AtomicGraph) -> NearestPair | None:
    """The shortest edge of a single structure, images included; None where no atoms are closer than the cutoff."""
    if not len(graph.senders):
        return None
    translations = graph.images.to(graph.positions.dtype) @ graph.cell[0]
    vectors = graph.positions[graph.senders] - graph.positions[graph.receivers] + translations
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    edge = int(lengths.argmin())
    first, second = sorted((int(graph.numbers[graph.senders[edge]]), int(graph.numbers[graph.receivers[edge]])))
    return NearestPair(float(lengths[edge]), (first, second))
