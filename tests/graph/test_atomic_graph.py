"""Batches, volumes, and that a graph is not changed through the arrays it was made of."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from equinet.graph import AtomicGraph, atoms_per_graph, build_graph, collate, move, num_graphs, split, volumes
from equinet_kernels import check_topology, edge_topology, edge_vectors

CUTOFF = 3.5
HYDROGEN = Atoms("H", positions=[[0.3, 0.0, 0.0]])
STRUCTURES = {
    "molecule": molecule("CH3CH2OH"),
    "crystal": bulk("Si"),
    "atom": HYDROGEN,
    "slab": fcc111("Al", (1, 1, 3), vacuum=6.0),
    "padded molecule": molecule("H2O", cell=[8.0, 8.0, 8.0], pbc=False),
    "left-handed": Atoms("Cu", cell=[[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 3.0]], pbc=True),
}


def graph_of(atoms: Atoms) -> AtomicGraph:
    return build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, CUTOFF)


def same(a: AtomicGraph, b: AtomicGraph) -> bool:
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


@pytest.fixture
def graphs() -> list[AtomicGraph]:
    return [graph_of(atoms) for atoms in STRUCTURES.values()]


def vectors_of(graph: AtomicGraph) -> torch.Tensor:
    topology = edge_topology(graph.senders, graph.receivers, len(graph.positions))
    return edge_vectors(graph.positions, graph.cell, graph.batch, graph.images, topology)


def test_batch_holds_its_structures_in_order(graphs):
    batch = collate(graphs)
    sizes = [len(atoms) for atoms in STRUCTURES.values()]
    assert num_graphs(batch) == len(graphs)
    assert atoms_per_graph(batch).tolist() == sizes
    assert batch.batch.tolist() == [b for b, size in enumerate(sizes) for _ in range(size)]
    assert len(batch.senders) == sum(len(graph.senders) for graph in graphs) > 100
    assert torch.equal(batch.batch[batch.senders], batch.batch[batch.receivers])
    check_topology(edge_topology(batch.senders, batch.receivers, sum(sizes)), sum(sizes))
    assert torch.equal(vectors_of(batch), torch.cat([vectors_of(graph) for graph in graphs]))


def test_split_undoes_collate(graphs):
    for chosen in (graphs, graphs[::-1], graphs[2:3], [graphs[2]] * 3):
        singles = split(collate(chosen))
        assert len(singles) == len(chosen)
        assert all(same(a, b) for a, b in zip(singles, chosen, strict=True))


def test_batches_of_batches(graphs):
    nested = collate([collate(graphs[:2]), graphs[2], collate(graphs[3:])])
    assert same(nested, collate(graphs))


def test_collate_of_nothing():
    with pytest.raises(ValueError, match="at least one graph"):
        collate([])


def test_volumes_only_where_they_mean_something(graphs):
    found = dict(zip(STRUCTURES, volumes(collate(graphs)).tolist(), strict=True))
    assert found.pop("crystal") == pytest.approx(5.43**3 / 4)
    assert found.pop("left-handed") == pytest.approx(27.0)  # positive
    assert all(np.isnan(volume) for volume in found.values())


def test_graph_does_not_see_later_changes_of_its_sources():
    """Dynamics moves positions in place; a graph that followed would have wrong neighbours."""
    atoms = STRUCTURES["crystal"].repeat(2)
    sources = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    graph = build_graph(*sources, CUTOFF)
    before = AtomicGraph(*(tensor.clone() for tensor in graph))
    for source in sources:
        source[:] = 0
    assert same(graph, before)


def test_sources_are_not_written():
    """Cells with zero rows are completed for the search, in a copy."""
    cell = np.zeros((3, 3))
    cell[0, 0] = 2.6
    sources = (np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]), np.array([6, 6]), cell, np.array([True, False, False]))
    copies = [source.copy() for source in sources]
    for source in sources:
        source.setflags(write=False)
    graph = build_graph(*sources, CUTOFF)
    assert all(np.array_equal(a, b) for a, b in zip(sources, copies, strict=True))
    assert torch.equal(graph.cell[0], torch.from_numpy(copies[2]))


def test_lists_and_other_dtypes_are_taken():
    graph = build_graph([[0, 0, 0], [1, 0, 0]], [1, 1], [[0] * 3] * 3, [0, 0, 0], 2)
    assert graph.positions.dtype == torch.float64
    single = build_graph(
        np.zeros((1, 3), np.float32), np.array([1], np.uint8), np.eye(3, dtype=np.float32) * 9, [1, 1, 1], 2
    )
    assert single.cell.dtype == torch.float64
    assert single.numbers.dtype == torch.int64


def test_move_takes_every_tensor(graphs):
    moved = move(graphs[0], "meta")
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert [tensor.shape for tensor in moved] == [tensor.shape for tensor in graphs[0]]
    assert {tensor.device.type for tensor in graphs[0]} == {"cpu"}
    assert same(move(graphs[0], torch.device("cpu")), graphs[0])
