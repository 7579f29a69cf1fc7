"""The one graph type: one structure or a batch of them, immutable, made of tensors alone.

A NamedTuple of tensors scripts, exports and moves between processes; functions act on it, so that it never grows
methods.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class AtomicGraph(NamedTuple):
    """Atoms of B structures and the edges between atoms closer than a cutoff.

    Edges point from a sender (the neighbour) to a receiver (the atom whose environment it is) and are ordered by
    (receiver, sender, image), so that every sum over neighbours gives the same bits whatever order they were found in.
    The edge vector is ``positions[sender] + images @ cell - positions[receiver]``.
    """

    positions: Tensor  # [N, 3] float64, Angstrom
    numbers: Tensor  # [N] int64, atomic numbers
    cell: Tensor  # [B, 3, 3] float64, Angstrom; rows are lattice vectors, zero rows allowed along open directions
    pbc: Tensor  # [B, 3] bool
    batch: Tensor  # [N] int64, structure of each atom, non-decreasing
    senders: Tensor  # [E] int64
    receivers: Tensor  # [E] int64, non-decreasing
    images: Tensor  # [E, 3] int64, lattice translations of the sender


def num_graphs(graph: AtomicGraph) -> int:
    """Return the number of structures B."""
    return graph.cell.shape[0]


def atoms_per_graph(graph: AtomicGraph) -> Tensor:
    """Return the number of atoms of each structure, [B] int64."""
    return torch.bincount(graph.batch, minlength=num_graphs(graph))


def volumes(graph: AtomicGraph) -> Tensor:
    """Return the cell volumes in Angstrom^3, [B]; NaN where the structure is not periodic in three directions.

    A slab's or a molecule's cell is padding: its volume means nothing, and a stress made with it would be wrong.
    """
    first, second, third = graph.cell.unbind(1)  # [B, 3] each
    volume = (first * torch.linalg.cross(second, third)).sum(1).abs()  # [B]
    return torch.where(graph.pbc.all(dim=1), volume, torch.full_like(volume, float("nan")))


def move(graph: AtomicGraph, device: torch.device | str) -> AtomicGraph:
    """Return the graph on another device."""
    return AtomicGraph(*(tensor.to(device, non_blocking=True) for tensor in graph))


def collate(graphs: Sequence[AtomicGraph]) -> AtomicGraph:
    """Join graphs (single or batched) into one batch.

    Args:
        graphs: at least one graph.

    Returns:
        The batch; atoms, edges and structures keep their order.

    Raises:
        ValueError: if there is no graph.
    """
    if not graphs:
        raise ValueError("collate needs at least one graph")
    if len(graphs) == 1:
        return graphs[0]
    first_atom = 0
    first_graph = 0
    batch, senders, receivers = [], [], []
    for graph in graphs:
        batch.append(graph.batch + first_graph)
        senders.append(graph.senders + first_atom)
        receivers.append(graph.receivers + first_atom)
        first_atom += graph.positions.shape[0]
        first_graph += num_graphs(graph)
    return AtomicGraph(
        positions=torch.cat([graph.positions for graph in graphs]),
        numbers=torch.cat([graph.numbers for graph in graphs]),
        cell=torch.cat([graph.cell for graph in graphs]),
        pbc=torch.cat([graph.pbc for graph in graphs]),
        batch=torch.cat(batch),
        senders=torch.cat(senders),
        receivers=torch.cat(receivers),
        images=torch.cat([graph.images for graph in graphs]),
    )


def split(graph: AtomicGraph) -> list[AtomicGraph]:
    """Take a batch apart into its single structures (the inverse of :func:`collate`)."""
    counts = atoms_per_graph(graph)  # [B]
    atom_starts = torch.cumsum(counts, 0) - counts  # [B]
    edge_counts = torch.bincount(graph.batch[graph.receivers], minlength=num_graphs(graph))  # [B]
    edge_starts = torch.cumsum(edge_counts, 0) - edge_counts  # [B]
    singles = []
    for b, (atom, atoms, edge, edges) in enumerate(
        zip(atom_starts.tolist(), counts.tolist(), edge_starts.tolist(), edge_counts.tolist(), strict=True)
    ):
        singles.append(
            AtomicGraph(
                positions=graph.positions[atom : atom + atoms],
                numbers=graph.numbers[atom : atom + atoms],
                cell=graph.cell[b : b + 1],
                pbc=graph.pbc[b : b + 1],
                batch=torch.zeros_like(graph.batch[atom : atom + atoms]),
                senders=graph.senders[edge : edge + edges] - atom,
                receivers=graph.receivers[edge : edge + edges] - atom,
                images=graph.images[edge : edge + edges],
            )
        )
    return singles
