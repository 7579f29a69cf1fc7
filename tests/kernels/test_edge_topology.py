"""Compressed rows, the permutation by sender, and what the check refuses."""

import pytest
import torch

from equinet_kernels import check_topology, edge_topology


@pytest.mark.parametrize("edges", [0, 1, 50])
@pytest.mark.parametrize("nodes", [1, 7])
def test_rows_and_permutation(nodes, edges):
    random = torch.Generator().manual_seed(edges)
    senders = torch.randint(0, nodes, (edges,), generator=random)
    receivers = torch.randint(0, nodes, (edges,), generator=random).sort().values
    topology = edge_topology(senders, receivers, nodes)
    check_topology(topology, nodes)
    assert topology.row_ptr.tolist()[0] == 0
    assert topology.row_ptr.tolist()[-1] == edges
    for node in range(nodes):
        row = range(int(topology.row_ptr[node]), int(topology.row_ptr[node + 1]))
        assert list(row) == [e for e in range(edges) if receivers[e] == node]
    expected = sorted(range(edges), key=lambda e: (int(senders[e]), e))  # stable: edges of one sender stay in order
    assert topology.sender_perm.tolist() == expected


def test_no_nodes():
    none = torch.zeros(0, dtype=torch.int64)
    assert edge_topology(none, none, 0).row_ptr.tolist() == [0]


@pytest.mark.parametrize(
    ("senders", "receivers", "message"),
    [
        ([0, 1, 2], [0, 2, 1], "sorted by receiver"),
        ([0, 3], [0, 1], r"run over 0..3, but there are 3 nodes"),
        ([0, 1], [0, 3], r"run over 0..3, but there are 3 nodes"),
        ([-1, 1], [0, 1], r"run over -1..1"),
        ([0, 1], [0], r"must be \[E\]"),
        ([[0, 1]], [[0, 1]], r"must be \[E\]"),
    ],
)
def test_what_kernels_cannot_take_is_refused(senders, receivers, message):
    topology = edge_topology(torch.tensor([0]), torch.tensor([0]), 3)
    topology = topology._replace(senders=torch.tensor(senders), receivers=torch.tensor(receivers))
    with pytest.raises(ValueError, match=message):
        check_topology(topology, 3)
