"""Many structures through a potential, in batches of bounded size: the loop behind every prediction and evaluation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.graph import AtomicGraph, collate, move
from equinet.models.potential import Potential, Prediction

Array = NDArray[np.float64]

MAX_ATOMS = 4_000
"""Atoms in one batch, unless one structure has more."""
MAX_EDGES = 100_000
"""Edges in one batch, unless one structure has more; memory grows with them."""


@dataclass(frozen=True)
class Result:
    """What a potential says of one structure. Everything is float64.

    Attributes:
        energy: eV.
        energies: [N] eV, of each atom.
        forces: [N, 3] eV/Angstrom.
        stress: [3, 3] eV/Angstrom^3, ASE's sign; None unless periodic in three directions.
        virial: [3, 3] eV, -dE/dstrain.
    """

    energy: float
    energies: Array
    forces: Array
    stress: Array | None
    virial: Array


def predict_graphs(
    potential: Potential,
    graphs: Iterable[AtomicGraph],
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
) -> list[Result]:
    """Predict many structures; the results are those of one structure at a time, in the same order.

    Args:
        potential: used in eval mode, on the device it is on; its mode is restored.
        graphs: single structures.
        batch_size: structures in one batch at most; MAX_ATOMS and MAX_EDGES bound it too.
        on_batch: called after each batch with the number of structures done so far.

    Raises:
        InputError: a batch size below 1; an element the potential does not know.
    """
    if batch_size < 1:
        raise InputError(f"a batch size of {batch_size} makes no sense; give 1 or more")
    training = potential.training
    potential.eval()
    try:
        results: list[Result] = []
        for batch in batched(graphs, batch_size):
            prediction = potential(move(collate(batch), potential.scale.device))
            results += _unpack(prediction, batch)
            if on_batch is not None:
                on_batch(len(results))
        return results
    finally:
        potential.train(training)


def batched(graphs: Iterable[AtomicGraph], batch_size: int) -> Iterator[list[AtomicGraph]]:
    """Group graphs in order, within batch_size, MAX_ATOMS and MAX_EDGES; a larger one comes alone."""
    batch: list[AtomicGraph] = []
    atoms = edges = 0
    for graph in graphs:
        more_atoms, more_edges = len(graph.numbers), len(graph.senders)
        full = len(batch) == batch_size or atoms + more_atoms > MAX_ATOMS or edges + more_edges > MAX_EDGES
        if batch and full:
            yield batch
            batch, atoms, edges = [], 0, 0
        batch.append(graph)
        atoms, edges = atoms + more_atoms, edges + more_edges
    if batch:
        yield batch


def _unpack(prediction: Prediction, batch: list[AtomicGraph]) -> list[Result]:
    energy, energies, forces, virial, stress = (
        tensor.cpu().numpy()
        for tensor in (
            prediction.energy,
            prediction.atom_energies,
            prediction.forces,
            prediction.virial,
            prediction.stress,
        )
    )
    ends = np.cumsum([len(graph.numbers) for graph in batch])
    results = []
    for b, (graph, end) in enumerate(zip(batch, ends, strict=True)):
        rows = slice(end - len(graph.numbers), end)
        results.append(
            Result(
                energy=float(energy[b]),
                energies=energies[rows],
                forces=forces[rows],
                stress=stress[b] if bool(graph.pbc.all()) else None,
                virial=virial[b],
            )
        )
    return results
