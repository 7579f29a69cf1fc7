import subprocess
import sys

import numpy as np
import pytest
import torch

from equinet.data import ExampleDataset, collate_examples, make_example
from equinet.data.pyg import from_pyg, pyg_loader, to_pyg
from equinet.errors import InputError
from tests.data.frames import record


def records():
    rng = np.random.default_rng(0)
    cell = {"cell": np.diag([3.2, 3.4, 9.0]) + 0.1, "pbc": np.array([True, True, False])}
    return [
        record("H2O", -14.0, forces=rng.normal(size=(3, 3))),
        record("Si2", -10.0, virial=np.eye(3), **cell),
        record("He"),
    ]


def same(one, other):
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_there_and_back(which):
    example = make_example(records()[which], 5.0)
    back = from_pyg(to_pyg(example))
    assert same(back.graph, example.graph)
    assert same(back.labels, example.labels)


def test_the_loader_batches_as_we_do():
    dataset = ExampleDataset(records(), 5.0)
    first, second = pyg_loader(dataset, batch_size=2, shuffle=False)
    ours = collate_examples([dataset[0], dataset[1]])
    assert same(from_pyg(first).graph, ours.graph)
    assert same(from_pyg(first).labels, ours.labels)
    assert same(from_pyg(second).graph, dataset[2].graph)


def test_edges_in_any_order_are_sorted():
    example = make_example(records()[1], 5.0)
    data = to_pyg(example)
    order = torch.randperm(data.edge_index.shape[1])
    data.edge_index, data.images = data.edge_index[:, order], data.images[order]
    assert same(from_pyg(data).graph, example.graph)


def test_a_plain_molecule_of_pyg():
    from torch_geometric.data import Data

    data = Data(pos=torch.rand(2, 3), z=torch.tensor([1, 8]), edge_index=torch.tensor([[1, 0], [0, 1]]))
    graph, labels = from_pyg(data)
    assert graph.positions.dtype == torch.float64
    assert graph.pbc.tolist() == [[False] * 3]
    assert not labels.has_energy.any()
    assert not labels.has_forces.any()


def test_what_is_missing_is_named():
    data = to_pyg(make_example(records()[1], 5.0))
    del data.images
    with pytest.raises(InputError, match="periodic but has no 'images'"):
        from_pyg(data)
    del data.edge_index
    with pytest.raises(InputError, match="no 'edge_index'"):
        from_pyg(data)


def test_a_batch_is_refused():
    batch = collate_examples([make_example(r, 5.0) for r in records()])
    with pytest.raises(InputError, match="not a batch of 3"):
        to_pyg(batch)


def test_reading_data_does_not_import_pyg():
    code = "import sys, equinet.data, equinet.data.pyg; print('torch_geometric' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
