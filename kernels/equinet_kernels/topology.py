"""The connectivity of a batch in the form operators need, built once per batch and shared by all layers."""

from typing import NamedTuple

import torch
from torch import Tensor


class EdgeTopology(NamedTuple):
    """Receiver-sorted edges in compressed rows, and the permutation that sorts them by sender.

    Sums over receivers run along rows, sums over senders (the backward pass) along the permutation: no atomics either
    way.
    """

    senders: Tensor  # [E] int64
    receivers: Tensor  # [E] int64, non-decreasing
    row_ptr: Tensor  # [N + 1] int64; edges of receiver n are row_ptr[n]..row_ptr[n + 1]
    sender_perm: Tensor  # [E] int64; senders[sender_perm] is non-decreasing
    sender_ptr: Tensor  # [N + 1] int64; edges of sender n are sender_perm[sender_ptr[n]..sender_ptr[n + 1]]


def row_pointers(index: Tensor, rows: int) -> Tensor:
    """Where each row's entries begin in a non-decreasing index, [rows + 1] int64; the last one says where they end.

    Args:
        index: [E] int64, non-decreasing, 0..rows - 1.
        rows: how many rows there are.
    """
    return torch.searchsorted(index, torch.arange(rows + 1, device=index.device))


def edge_topology(senders: Tensor, receivers: Tensor, num_nodes: int) -> EdgeTopology:
    """Build the topology of a batch.

    Args:
        senders: [E] int64.
        receivers: [E] int64, non-decreasing (not checked here: see :func:`check_topology`).
        num_nodes: N.
    """
    row_ptr = row_pointers(receivers, num_nodes)
    sender_perm = torch.argsort(senders, stable=True)
    sender_ptr = row_pointers(senders.index_select(0, sender_perm), num_nodes)
    return EdgeTopology(senders, receivers, row_ptr, sender_perm, sender_ptr)


def with_isolated_nodes(topology: EdgeTopology, number: int) -> EdgeTopology:
    """The same edges among more nodes: ``number`` nodes without any follow the others."""
    return EdgeTopology(
        topology.senders,
        topology.receivers,
        torch.cat([topology.row_ptr, topology.row_ptr[-1:].expand(number)]),
        topology.sender_perm,
        torch.cat([topology.sender_ptr, topology.sender_ptr[-1:].expand(number)]),
    )


def check_topology(topology: EdgeTopology, num_nodes: int) -> None:
    """Check what kernels rely on. Costs a device synchronisation: for tests and debugging.

    Raises:
        ValueError: edges not sorted by receiver; an index out of range; rows or permutation that do not fit the edges.
    """
    senders, receivers = topology.senders, topology.receivers
    if senders.shape != receivers.shape or senders.dim() != 1:
        raise ValueError(f"senders and receivers must be [E], got {senders.shape} and {receivers.shape}")
    if bool((receivers[1:] < receivers[:-1]).any()):
        raise ValueError("edges must be sorted by receiver")
    if senders.numel():
        low = min(int(senders.min()), int(receivers.min()))
        high = max(int(senders.max()), int(receivers.max()))
        if low < 0 or high >= num_nodes:
            raise ValueError(f"edge indices run over {low}..{high}, but there are {num_nodes} nodes")
    expected = edge_topology(senders, receivers, num_nodes)
    if not torch.equal(topology.row_ptr, expected.row_ptr):
        raise ValueError("row_ptr does not point at the first edge of each receiver")
    if not torch.equal(topology.sender_perm, expected.sender_perm):
        raise ValueError("sender_perm is not the stable order of the edges by sender")
    if not torch.equal(topology.sender_ptr, expected.sender_ptr):
        raise ValueError("sender_ptr does not point at the first edge of each sender")
