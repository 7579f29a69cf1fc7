"""Structures of every kind, and what a model says of them: by these an artefact is judged, here and elsewhere."""

import dataclasses
import json
from typing import Any

import numpy as np
import torch

from equinet.graph import AtomicGraph, build_graph, collate
from equinet.models import Potential
from equinet.models.compilation import drawn_structures

QUANTITIES = ("energy", "atom_energies", "forces", "virial", "stress")


@dataclasses.dataclass(frozen=True)
class Reference:
    """A structure, or a batch of some, and a model's answers.

    Attributes:
        name: what is special about it.
        structures: positions, numbers, cell and pbc of each, as lists.
        modals: number of the level of theory of each, where there are several.
        expected: the quantities of a prediction, as nested lists; NaN where there is no stress.
    """

    name: str
    structures: list[dict[str, Any]]
    modals: list[int]
    expected: dict[str, Any]

    def graph(self, cutoff: float) -> AtomicGraph:
        """The batch as a graph."""
        return collate([build_graph(**structure, cutoff=cutoff) for structure in self.structures])

    def modal(self) -> torch.Tensor | None:
        """[B] int64, where there are several levels of theory."""
        return torch.tensor(self.modals) if self.modals else None


def references_of(potential: Potential, seed: int = 0) -> list[Reference]:
    """Draw structures, and ask the model.

    Different sizes, crystals, a slab, molecules, one atom, atoms without neighbours, a cell smaller than the cutoff, a
    batch of all; with several levels of theory they take turns.

    Args:
        potential: on any device, in eval mode.
        seed: of the structures.
    """
    singles = _structures(potential, seed)
    several = len(potential.modals)
    modals = {name: [number % several] if several else [] for number, name in enumerate(singles)}
    drawn = [(name, [structure], modals[name]) for name, structure in singles.items()]
    drawn.append(("a batch of all", list(singles.values()), [m for modal in modals.values() for m in modal]))
    return [_asked(potential, Reference(*one, expected={})) for one in drawn]


def _structures(potential: Potential, seed: int) -> dict[str, dict[str, Any]]:
    """By name."""
    names = ("dense crystal", "open crystal", "slab", "dense molecule", "open molecule")
    graphs = drawn_structures(potential.species, potential.cutoff, seed)
    structures = {name: _plain(graph) for name, graph in zip(names, graphs, strict=True)}
    first, last = potential.species[0], potential.species[-1]
    apart, nowhere = 3 * potential.cutoff, np.zeros((3, 3)).tolist()
    structures["one atom"] = {"positions": [[0.1, 0.2, 0.3]], "numbers": [first], "cell": nowhere, "pbc": [False] * 3}
    structures["no neighbours"] = {
        "positions": [[0.0, 0.0, 0.0], [0.0, apart, 0.0]], "numbers": [first, last], "cell": nowhere, "pbc": [False] * 3
    }  # fmt: skip
    structures["cell smaller than the cutoff"] = {
        "positions": [[0.0, 0.0, 0.0], [1.3, 1.4, 1.2]], "numbers": [last, first],
        "cell": [[2.7, 0.0, 0.0], [0.4, 2.8, 0.0], [0.1, -0.3, 2.6]], "pbc": [True] * 3,
    }  # fmt: skip
    return structures


def _plain(graph: AtomicGraph) -> dict[str, Any]:
    values = {"positions": graph.positions, "numbers": graph.numbers, "cell": graph.cell[0], "pbc": graph.pbc[0]}
    return {name: value.tolist() for name, value in values.items()}


def _asked(potential: Potential, reference: Reference) -> Reference:
    device, modal = potential.scale.device, reference.modal()
    graph = AtomicGraph(*(tensor.to(device) for tensor in reference.graph(potential.cutoff)))
    prediction = potential(graph, None if modal is None else modal.to(device))
    return dataclasses.replace(reference, expected={name: getattr(prediction, name).tolist() for name in QUANTITIES})


def to_json(references: list[Reference]) -> str:
    """The text within an artefact; numbers come back to the bit."""
    return json.dumps([dataclasses.asdict(reference) for reference in references])


def from_json(text: str) -> list[Reference]:
    """The inverse of :func:`to_json`."""
    return [Reference(**values) for values in json.loads(text)]
