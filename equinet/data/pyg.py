"""To and from PyTorch Geometric, for those who have models, transforms or loaders there.

torch_geometric is imported inside the functions: reading data and training do not need it.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from equinet.data.examples import Example, Labels
from equinet.errors import InputError
from equinet.graph import AtomicGraph, num_graphs

if TYPE_CHECKING:
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader


def to_pyg(example: Example) -> "Data":
    """Turn one labelled structure into a PyG ``Data``.

    ``edge_index`` is [senders; receivers]; names and shapes of the rest: pos [N, 3], z [N], cell [1, 3, 3],
    pbc [1, 3], images [E, 3], energy [1], forces [N, 3], virial [1, 3, 3], has_energy, has_forces, has_virial [1].

    Raises:
        InputError: the example is a batch; convert its structures one by one (``equinet.graph.split``).
    """
    from torch_geometric.data import Data

    graph, labels = example
    if num_graphs(graph) != 1:
        raise InputError(f"to_pyg takes one structure, not a batch of {num_graphs(graph)}; split it first")
    return Data(
        pos=graph.positions,
        z=graph.numbers,
        cell=graph.cell,
        pbc=graph.pbc,
        edge_index=torch.stack([graph.senders, graph.receivers]),
        images=graph.images,
        **labels._asdict(),
    )


def from_pyg(data: "Data") -> Example:
    """Turn a PyG ``Data`` or ``Batch`` with edges into an example.

    ``pos``, ``z`` and ``edge_index`` must be there. ``cell`` and ``pbc`` default to a molecule's; ``images`` may be
    absent where nothing is periodic. A label counts as present if it is there and its ``has_...`` is not False.

    Returns:
        The example, its edges sorted by (receiver, sender, image) and its geometry in float64.

    Raises:
        InputError: an attribute is missing.
    """
    for name in ("pos", "z", "edge_index"):
        if data.get(name) is None:
            raise InputError(f"the PyG data has no {name!r}; equinet.data.make_example builds graphs with edges")
    n = data.pos.shape[0]
    batch = data.get("batch")
    batch = torch.zeros(n, dtype=torch.int64) if batch is None else batch
    structures = int(getattr(data, "num_graphs", 1))
    pbc = _attribute(data, "pbc", torch.zeros(structures, 3, dtype=torch.bool)).reshape(structures, 3)
    edges = data.edge_index.shape[1]
    if data.get("images") is None and bool(pbc.any()):
        raise InputError("the PyG data is periodic but has no 'images' (lattice translations of the senders)")
    senders, receivers = data.edge_index
    images = _attribute(data, "images", torch.zeros(edges, 3, dtype=torch.int64))
    order = _edge_order(receivers, senders, images)
    graph = AtomicGraph(
        positions=data.pos.to(torch.float64),
        numbers=data.z.to(torch.int64),
        cell=_attribute(data, "cell", torch.zeros(structures, 3, 3)).to(torch.float64).reshape(structures, 3, 3),
        pbc=pbc,
        batch=batch,
        senders=senders[order],
        receivers=receivers[order],
        images=images[order],
    )
    shapes = {"energy": (structures,), "forces": (n, 3), "virial": (structures, 3, 3)}
    values, present = [], []
    for name, shape in shapes.items():
        there = torch.full((structures,), data.get(name) is not None)
        values.append(_attribute(data, name, torch.zeros(shape)).to(torch.float64).reshape(shape))
        present.append(_attribute(data, f"has_{name}", there).reshape(structures))
    modal = _attribute(data, "modal", torch.zeros(structures, dtype=torch.int64)).reshape(structures)
    weight = _attribute(data, "weight", torch.ones(structures)).to(torch.float64).reshape(structures)
    return Example(graph, Labels._make([*values, *present, modal, weight]))


def pyg_loader(dataset: Dataset[Example], batch_size: int, shuffle: bool, **options: Any) -> "DataLoader":
    """Return a PyG ``DataLoader`` over examples; what it yields goes back through :func:`from_pyg`.

    Args:
        dataset: a map-style data set, such as :class:`equinet.data.ExampleDataset`.
        batch_size: structures per batch.
        shuffle: a new order in every epoch.
        options: more for torch's DataLoader.
    """
    from torch_geometric.loader import DataLoader

    return DataLoader(_PygDataset(dataset), batch_size=batch_size, shuffle=shuffle, **options)


class _PygDataset(Dataset[Any]):
    def __init__(self, examples: Dataset[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> "Data":
        return to_pyg(self.examples[index])


def _attribute(data: "Data", name: str, default: Tensor) -> Tensor:
    value = data.get(name)
    return default if value is None else torch.as_tensor(value)


def _edge_order(receivers: Tensor, senders: Tensor, images: Tensor) -> Tensor:
    """Return the permutation [E] that sorts edges by (receiver, sender, image): stable sorts, last key first."""
    order = torch.arange(len(receivers))
    for key in (images[:, 2], images[:, 1], images[:, 0], senders, receivers):
        order = order[torch.argsort(key[order], stable=True)]
    return order
