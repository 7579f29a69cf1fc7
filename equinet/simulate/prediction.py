"""Energies, forces and stresses of many structures, in batches of bounded size."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import AtomicGraph, collate, move
from equinet.models import Potential, Prediction

Array = NDArray[np.float64]

MAX_ATOMS = 4_000
"""Atoms in one batch, unless one structure has more."""
PER_ATOM = ("forces", "energies", "stresses", "charges", "magmoms")
"""Calculator results with a row for each atom."""
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


def predict(
    potential: Potential,
    atoms_list: Iterable[Atoms],
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> list[Result]:
    """Predict many structures; the results are those of one structure at a time, in the same order.

    Args:
        potential: stays on its device.
        atoms_list: structures of any size and kind, mixed.
        batch_size: structures in one batch at most; MAX_ATOMS and MAX_EDGES bound it too.
        on_batch: called after each batch with the number of structures done so far.

    Raises:
        InputError: what is wrong with a structure, naming its number (from 0); a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"a batch size of {batch_size} makes no sense; give 1 or more")
    training = potential.training
    potential.eval()
    try:
        results: list[Result] = []
        for batch in batched(_graphs(potential, atoms_list), batch_size):
            prediction = potential(move(collate(batch), potential.scale.device))
            results += _unpack(prediction, batch)
            if on_batch is not None:
                on_batch(len(results))
        return results
    finally:
        potential.train(training)


def with_result(atoms: Atoms, result: Result) -> Atoms:
    """A copy of a structure whose calculator results are the prediction, to be written to a file.

    Labels that stood under the names of calculator results move to ``REF_energy``, ``REF_forces`` and so on,
    unless the structure has such a key already. Where there is no stress, info has the virial (3 x 3, eV).
    """
    frame = atoms.copy()
    places: tuple[dict[str, Any], ...] = (frame.info, frame.arrays)
    labels = dict(atoms.calc.results) if atoms.calc is not None else {}
    for name in (*all_properties, "virial"):
        for place in places:
            if name in place:
                labels.setdefault(name, place.pop(name))
    for name, label in labels.items():
        per_atom = np.ndim(label) > 0 and len(label) == len(frame) and name in PER_ATOM
        places[per_atom].setdefault(f"REF_{name}", np.array(label) if np.ndim(label) else label)
    results: dict[str, Any] = {"energy": result.energy, "forces": result.forces}
    if result.stress is None:
        frame.info["virial"] = result.virial
    else:
        results["stress"] = full_3x3_to_voigt_6_stress(result.stress)
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


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


def _graphs(potential: Potential, atoms_list: Iterable[Atoms]) -> Iterator[AtomicGraph]:
    for number, atoms in enumerate(atoms_list):
        try:
            graph = graph_from_atoms(atoms, potential.cutoff)
            potential.check_elements(graph.numbers)
        except InputError as error:
            raise InputError(f"frame {number}: {error}") from error
        yield graph


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
