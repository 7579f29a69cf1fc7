"""Whether an artefact gives its model's answers: on structures of every kind, however the inputs lie in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from equinet.deploy.artefact import Artefact, Results
from equinet.deploy.references import QUANTITIES, Reference
from equinet.errors import InputError
from equinet.graph import AtomicGraph

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
"""Largest difference from the model in the same precision, relative to the quantity's largest value in the structure
(at least 1 eV, eV/Angstrom, eV/Angstrom^3: below that, absolute). Both sides round; sums run in other orders."""


@dataclass(frozen=True)
class Deviation:
    """The largest deviation of one quantity over all structures.

    Attributes:
        quantity: which.
        structure: in which it is largest.
        value: relative, as in :data:`TOLERANCES`.
        limit: what it may be.
    """

    quantity: str
    structure: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within the limit; NaN is not."""
        return self.value <= self.limit


def check_artefact(artefact: Artefact) -> list[Deviation]:
    """Compare an artefact with the answers of its model that it carries.

    Each structure is also given with inputs that are strided and expanded views, and with its edges in another order.

    Args:
        artefact: as loaded here.

    Returns:
        A row for each quantity.

    Raises:
        InputError: it carries no structures.
    """
    if not artefact.references:
        raise InputError("the artefact carries no structures to check it by, so that nothing is known; export it again")
    limit = TOLERANCES[artefact.header.dtype]
    worst = {name: Deviation(name, "none", -1.0, limit) for name in QUANTITIES}
    for reference in artefact.references:
        dense = reference.graph(artefact.header.cutoff)
        modal = reference.modal()
        for form, graph in (("", dense), (", strided inputs", strided(dense)), (", shuffled edges", shuffled(dense))):
            found = artefact(graph, modal)
            for name, value in _deviations(found, reference).items():
                if not value <= worst[name].value:
                    worst[name] = Deviation(name, reference.name + form, value, limit)
    return list(worst.values())


def _deviations(found: Results, reference: Reference) -> dict[str, float]:
    values = {}
    for name in QUANTITIES:
        expected = torch.tensor(reference.expected[name], dtype=torch.float64)
        ours = found[name].detach().cpu()
        if ours.shape != expected.shape or not torch.equal(ours.isnan(), expected.isnan()):
            values[name] = float("nan")
            continue
        scale = max(1.0, float(expected.nan_to_num().abs().max())) if expected.numel() else 1.0
        values[name] = float((ours - expected).nan_to_num().abs().max()) / scale if expected.numel() else 0.0
    return values


def strided(graph: AtomicGraph) -> AtomicGraph:
    """The same values in other places: transposed, with gaps, and expanded where rows are equal."""
    return AtomicGraph(*(_strided(tensor) for tensor in graph))


def shuffled(graph: AtomicGraph) -> AtomicGraph:
    """The same edges in another order, as neighbour lists of other programs may have them."""
    order = torch.randperm(len(graph.senders), generator=torch.Generator().manual_seed(0))
    return graph._replace(senders=graph.senders[order], receivers=graph.receivers[order], images=graph.images[order])


def _strided(tensor: Tensor) -> Tensor:
    if len(tensor) and bool((tensor == tensor[:1]).all()):
        return tensor[:1].expand_as(tensor)
    if tensor.dim() == 1:
        return torch.stack([tensor, tensor], dim=1)[:, 0]
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)
