"""Energies, forces and stresses of many structures, in batches of bounded size."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import AtomicGraph
from equinet.models import Potential
from equinet.models.inference import Result, predict_graphs

PER_ATOM = ("forces", "energies", "stresses", "charges", "magmoms")
"""Calculator results with a row for each atom."""


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
        batch_size: structures in one batch at most; atoms and edges bound it too (:mod:`equinet.models.inference`).
        on_batch: called after each batch with the number of structures done so far.

    Raises:
        InputError: what is wrong with a structure, naming its number (from 0); a batch size below 1.
    """
    return predict_graphs(potential, _graphs(potential, atoms_list), batch_size, on_batch)


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


def _graphs(potential: Potential, atoms_list: Iterable[Atoms]) -> Iterator[AtomicGraph]:
    for number, atoms in enumerate(atoms_list):
        try:
            graph = graph_from_atoms(atoms, potential.cutoff)
            potential.check_elements(graph.numbers)
        except InputError as error:
            raise InputError(f"frame {number}: {error}") from error
        yield graph
