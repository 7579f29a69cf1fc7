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
    weight: Tensor  # [B] float64, in the loss


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


def make_example(record: Record, cutoff: float, modal: int = 0, weight: float = 1.0) -> Example:
    """Build the graph of a record and turn its labels into tensors.

    Args:
        record: one structure.
        cutoff: Angstrom.
        modal: number of its level of theory.
        weight: of the structure in the loss.

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
        weight=torch.tensor([weight], dtype=torch.float64),
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
    """Examples of records, made when asked for.

    Args:
        records: structures and labels.
        cutoff: Angstrom.
        modal_of: number of a record's level of theory, where there are several.
        weight_of: weight of a record in the loss.
        keep: whether examples are kept once they are made, for sets that fit in memory; with worker processes each
            worker keeps its own.
    """

    def __init__(
        self,
        records: Sequence[Record],
        cutoff: float,
        modal_of: Callable[[Record], int] = lambda record: 0,
        weight_of: Callable[[Record], float] = lambda record: 1.0,
        keep: bool = True,
    ) -> None:
        self.records = records
        self.cutoff = cutoff
        self.modal_of = modal_of
        self.weight_of = weight_of
        self._kept: dict[int, Example] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self.records):
            raise IndexError(f"no example {index} among {len(self.records)}")  # what ends a loop over the data set
        example = None if self._kept is None else self._kept.get(index)
        if example is None:
            record = self.records[index]
            example = make_example(record, self.cutoff, self.modal_of(record), self.weight_of(record))
            if self._kept is not None:
                self._kept[index] = example
        return example
