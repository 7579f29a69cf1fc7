import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from equinet.data import ExampleDataset, collate_examples, graph_from_atoms, make_example
from equinet.graph import split
from tests.data.frames import record, silicon


def labelled_and_bare():
    rng = np.random.default_rng(0)
    full = record("H2O", -14.0, forces=rng.normal(size=(3, 3)), virial=np.eye(3))
    return full, record("CO")


def test_absent_labels_are_zero_and_marked():
    graph, labels = make_example(labelled_and_bare()[1], 5.0)
    assert graph.senders.tolist() == [1, 0]
    assert [label.abs().sum() for label in labels[:3]] == [0.0, 0.0, 0.0]
    assert labels.forces.shape == (2, 3)
    assert labels.virial.shape == (1, 3, 3)
    assert [has.tolist() for has in labels[3:6]] == [[False], [False], [False]]
    assert labels.modal.tolist() == [0]


def test_labels_of_a_batch_follow_its_structures():
    full, bare = labelled_and_bare()
    batch = collate_examples([make_example(r, 5.0) for r in (bare, full, bare)])
    assert batch.labels.energy.tolist() == [0.0, -14.0, 0.0]
    assert batch.labels.has_energy.tolist() == batch.labels.has_virial.tolist() == [False, True, False]
    np.testing.assert_array_equal(batch.labels.forces[batch.graph.batch == 1], full.forces)
    assert {label.dtype for label in batch.labels[:3]} == {torch.float64}
    np.testing.assert_array_equal(batch.labels.virial[1], np.eye(3))
    for one, expected in zip(split(batch.graph), (bare, full, bare), strict=True):
        np.testing.assert_array_equal(one.numbers, expected.numbers)


def test_collating_nothing():
    with pytest.raises(ValueError, match="at least one"):
        collate_examples([])


def test_labels_do_not_share_memory_with_the_record():
    full, _ = labelled_and_bare()
    make_example(full, 5.0).labels.forces.zero_()
    assert np.abs(full.forces).sum() > 0


def test_graph_from_atoms_is_periodic():
    graph = graph_from_atoms(silicon(), 3.0)
    assert len(graph.senders) == 4 * 8
    np.testing.assert_allclose(graph.cell[0], silicon().cell.array)


def test_dataset_builds_each_graph_once(monkeypatch):
    import equinet.data.examples as module

    built = []
    build = module.build_graph
    monkeypatch.setattr(module, "build_graph", lambda *a: (built.append(1), build(*a))[1])
    dataset = ExampleDataset(labelled_and_bare(), 5.0)
    assert len(dataset) == 2
    assert not built
    for _ in range(2):
        batches = list(DataLoader(dataset, batch_size=2, collate_fn=collate_examples))
    assert len(built) == 2
    assert batches[0].labels.energy.tolist() == [-14.0, 0.0]
    with pytest.raises(IndexError):
        dataset[2]
