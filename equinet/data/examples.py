"""From records to what a model is trained on: a graph with its labels, alone or in batches."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch.utils.data import Dataset

from equinet.data.record import Record
from equinet.errors import InputError
from equinet.graph import AtomicGraph, build_graph, collate


class Labels(NamedTuple):
    """Labels of B structures with N atoms; absent ones are zero, and their ``has_...`` is False."""

    energy: Tensor  # [B] float64, eV
    forces: Tensor  # [N, 3] float64, eV/Angstrom
    virial: Tensor  # [B, 3, 3] float64, eV
    has_energy: Tensor  # [B] bool
    has_forces: Tensor  # [B] bool
    has_virial: Tensor  # [B] bool
    modal: Tensor  # [B] int64, the level of theory; 0 where there is one only


class Example(NamedTuple):
    """A graph (one structure or a batch) and its labels."""

    graph: AtomicGraph
    labels: Labels


def graph_from_atoms(atoms: Atoms, cutoff: float) -> AtomicGraph:
    """Build the graph of an ASE structure (see :func:`equinet.graph.build_graph`).

    Raises:
        InputError: positions that are not finite, two atoms at one place, a periodic direction without a
            vector.
    """
    return build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, cutoff)


def make_example(record: Record, cutoff: float, modal: int = 0) -> Example:
    """Build the graph of a record and turn its labels into tensors.

    Args:
        record: one structure.
        cutoff: Angstrom.
        modal: number of its level of theory.

    Raises:
        InputError: what :func:`equinet.graph.build_graph` finds wrong, with the file and the frame.
    """
    try:
        graph = build_graph(record.positions, record.numbers, record.cell, record.pbc, cutoff)
    except InputError as error:
        raise InputError(f"{record.source}: {error}") from error
    forces = np.zeros_like(record.positions) if record.forces is None else record.forces
    virial = np.zeros((3, 3)) if record.virial is None else record.virial
    labels = Labels(
        energy=torch.tensor([0.0 if record.energy is None else record.energy], dtype=torch.float64),
        forces=torch.tensor(forces, dtype=torch.float64),
        virial=torch.tensor(virial, dtype=torch.float64)[None],
        has_energy=torch.tensor([record.energy is not None]),
        has_forces=torch.tensor([record.forces is not None]),
        has_virial=torch.tensor([record.virial is not None]),
        modal=torch.tensor([modal]),
    )
    return Example(graph, labels)


def collate_examples(examples: Sequence[Example]) -> Example:
    """Join examples into one batch; structures and atoms keep their order. A DataLoader's ``collate_fn``.

    Raises:
        ValueError: if there is none.
    """
    graph = collate([example.graph for example in examples])
    columns = zip(*(example.labels for example in examples), strict=True)
    return Example(graph, Labels(*(torch.cat(column) for column in columns)))


class ExampleDataset(Dataset[Example]):
    """Examples of records, made when first asked for and kept: for sets that fit in memory.

    With worker processes each worker keeps its own copies.

    Args:
        records: structures and labels.
        cutoff: Angstrom.
        modal_of: number of a record's level of theory, where there are several.
    """

    def __init__(
        self, records: Sequence[Record], cutoff: float, modal_of: Callable[[Record], int] = lambda record: 0
    ) -> None:
        self.records = list(records)
        self.cutoff = cutoff
        self.modals = [modal_of(record) for record in self.records]
        self._examples: list[Example | None] = [None] * len(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index]
        if example is None:
            example = self._examples[index] = make_example(self.records[index], self.cutoff, self.modals[index])
        return example
