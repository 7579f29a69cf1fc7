"""Many structures through a potential, in batches of bounded size: the loop behind every prediction and evaluation."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
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


@dataclass(frozen=True)
class BatchLimits:
    """What one batch may hold, unless one structure has more. None is no limit."""

    structures: int | None = None
    atoms: int = MAX_ATOMS
    edges: int = MAX_EDGES

    def __post_init__(self) -> None:
        size = self.structures
        if size is not None and (not isinstance(size, Integral) or size < 1):
            raise InputError(f"a batch size of {size!r} makes no sense; give a whole number above 0")


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
        InputError: a batch size below 1; an element the potential does not know; memory that does not suffice.
    """
    limits = BatchLimits(batch_size)
    results: list[Result] = []
    with evaluating(potential):
        for batch in batched(graphs, limits):
            results += predict_batch(potential, batch)
            if on_batch is not None:
                on_batch(len(results))
    return results


@contextmanager
def evaluating(potential: Potential) -> Iterator[None]:
    """Put a potential into eval mode, and back."""
    training = potential.training
    potential.eval()
    try:
        yield
    finally:
        potential.train(training)


def predict_batch(potential: Potential, batch: list[AtomicGraph]) -> list[Result]:
    """Predict structures together.

    Args:
        potential: in eval mode.
        batch: one structure at least.

    Raises:
        InputError: an element the potential does not know; memory that does not suffice.
    """
    try:
        return predict_in_memory(potential, batch)
    except torch.OutOfMemoryError:
        edges = sum(len(graph.senders) for graph in batch)
        what = "a structure" if len(batch) == 1 else f"a batch of {len(batch)} structures"
        raise InputError(
            f"{what} with {edges} edges does not fit into the memory of {potential.scale.device}; give a smaller batch "
            "size, or use a device with more memory"
        ) from None


def predict_in_memory(potential: Potential, batch: list[AtomicGraph]) -> list[Result]:
    """Predict structures together; where a GPU's memory does not suffice, torch.OutOfMemoryError is raised."""
    device = potential.scale.device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():  # kernels run on the current one
        return _unpack(potential(move(collate(batch), device)), batch)


def batched(graphs: Iterable[AtomicGraph], limits: BatchLimits) -> Iterator[list[AtomicGraph]]:
    """Group graphs in order, within limits; a larger one comes alone. How depends on a batch's own graphs alone."""
    batch: list[AtomicGraph] = []
    atoms = edges = 0
    for graph in graphs:
        more_atoms, more_edges = len(graph.numbers), len(graph.senders)
        full = len(batch) == limits.structures or atoms + more_atoms > limits.atoms or edges + more_edges > limits.edges
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
