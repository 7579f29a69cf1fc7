"""Energies, forces and stresses of many structures, in batches of bounded size, on one device or several."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import AtomicGraph
from equinet.models import Potential
from equinet.models.capacity import fitting_limits
from equinet.models.inference import BatchLimits, Result, batched
from equinet.models.workers import Workers, in_order

BatchSize = int | Literal["auto"] | BatchLimits | None

CPU_BATCH_SIZE = 64
"""Structures in a batch on a CPU, unless the user says."""
SAMPLE = 256
"""Structures at most on which memory is measured."""
PER_ATOM = ("forces", "energies", "stresses", "charges", "magmoms")
"""Calculator results with a row for each atom."""


class StructureError(InputError):
    """A structure that cannot be predicted, with its key before what is wrong."""


class Predicted(NamedTuple):
    """A structure and what a potential says of it."""

    key: Any  # what came with the structure
    atoms: Atoms
    result: Result


class PredictionStream:
    """Predictions of any number of structures, batch after batch: memory holds a few batches, whatever their number.

    Args:
        potential: in eval mode while it predicts; its mode is restored.
        structures: each with a key, whose text names it in errors.
        batch_size: structures in one batch at most, within MAX_ATOMS and MAX_EDGES of :mod:`equinet.models.inference`;
            "auto" for what fits into memory, measured on the first structures (where there are more than one batch of
            fixed limits takes); limits as such; None for "auto" on a GPU and 64 on a CPU, where small batches stay in
            its caches.
        devices: to share the batches, "cuda:0", "cuda:1", ...; None for the one the potential is on.
        on_bad: told the key of a structure that cannot be predicted, and what is wrong with it; the structure is left
            out. None stops there.

    Raises:
        InputError: no potential, or one of several levels of theory; a batch size that is none; devices that are not
            there, or not of one kind; while predicting, memory that does not suffice.
        StructureError: what is wrong with a structure.
    """

    def __init__(
        self,
        potential: Potential,
        structures: Iterable[tuple[Any, Atoms]],
        batch_size: BatchSize = None,
        devices: Sequence[str | torch.device] | None = None,
        on_bad: Callable[[Any, InputError], None] | None = None,
    ) -> None:
        _check_potential(potential)
        self.potential = potential
        self.workers = Workers(potential, devices)
        self._on_bad = on_bad
        self._waiting: deque[tuple[Any, Atoms]] = deque()  # in the order of the graphs
        self._graphs = self._built(structures)
        self.limits = self._limits(batch_size)

    def __iter__(self) -> Iterator[list[Predicted]]:
        for results in self.workers.predict(batched(self._graphs, self.limits)):
            yield [Predicted(*self._waiting.popleft(), result) for result in results]

    def _limits(self, batch_size: BatchSize) -> BatchLimits:
        if isinstance(batch_size, BatchLimits):
            return batch_size
        if batch_size is None:
            batch_size = "auto" if self.workers.devices[0].type == "cuda" else CPU_BATCH_SIZE
        if batch_size != "auto":
            return BatchLimits(batch_size)
        sample: list[AtomicGraph] = []
        fixed = BatchLimits()
        for graph in self._graphs:
            sample.append(graph)
            if len(sample) > SAMPLE or sum(len(graph.senders) for graph in sample) > fixed.edges:
                break
        fits = len(list(batched(sample, fixed))) == 1 and len(sample) <= SAMPLE
        self._graphs = chain(sample, self._graphs)
        return fixed if fits or not sample else fitting_limits(self.workers.potentials[0], sample, self.workers.devices)

    def _built(self, structures: Iterable[tuple[Any, Atoms]]) -> Iterator[AtomicGraph]:
        """Graphs of those structures that have one; with several devices, built by as many threads."""
        for (key, atoms), graph in in_order(self._graph, structures, len(self.workers.devices)):
            if isinstance(graph, AtomicGraph):
                self._waiting.append((key, atoms))
                yield graph
            elif self._on_bad is None:
                raise StructureError(f"{key}: {graph}") from graph
            else:
                self._on_bad(key, graph)

    def _graph(self, structure: tuple[Any, Atoms]) -> tuple[tuple[Any, Atoms], AtomicGraph | InputError]:
        try:
            _check_atoms(structure[1])
            graph = graph_from_atoms(structure[1], self.potential.cutoff)
            self.potential.check_elements(graph.numbers)
        except InputError as error:
            return structure, error
        return structure, graph


def _check_potential(potential: object) -> None:
    if not isinstance(potential, Potential):
        raise InputError(
            f"{potential!r:.60} is no potential; load one with equinet.load, such as equinet.load('model.safetensors')"
        )
    if potential.modals:
        raise InputError(
            f"the potential knows the levels of theory {', '.join(potential.modals)}; load it at one of them: "
            f"equinet.load(FILE, modal={potential.modals[0]!r})"
        )


def _check_atoms(atoms: object) -> None:
    if not isinstance(atoms, Atoms):
        raise InputError(f"a {type(atoms).__name__} is no structure; give objects of the class ase.Atoms")


def predict(
    potential: Potential,
    atoms_list: Iterable[Atoms],
    batch_size: BatchSize = None,
    on_batch: Callable[[int], None] | None = None,
    devices: Sequence[str | torch.device] | None = None,
) -> list[Result]:
    """Predict many structures; the results are those of one structure at a time, in the same order.

    Args:
        potential: stays on its device; of one level of theory (``equinet.load(path, modal=NAME)``).
        atoms_list: structures of any size and kind, mixed; read one by one.
        batch_size: structures in one batch at most, or "auto" for what memory holds (:class:`PredictionStream`).
        on_batch: called after each batch with the number of structures done so far.
        devices: to share the batches, such as ["cuda:0", "cuda:1"]; None for the one the potential is on.

    Raises:
        InputError: what is wrong with a structure, naming its number (from 0); the name of a model or of a file, or a
            single structure; otherwise as :class:`PredictionStream`.
    """
    if isinstance(atoms_list, Atoms):
        raise InputError("predict takes a list of structures; give [atoms]")
    if isinstance(atoms_list, str | Path):
        raise InputError(f"predict takes a list of structures; read it: ase.io.read({str(atoms_list)!r}, ':')")
    numbered = ((f"frame {number}", atoms) for number, atoms in enumerate(atoms_list))
    results: list[Result] = []
    for batch in PredictionStream(potential, numbered, batch_size, devices):
        results += [predicted.result for predicted in batch]
        if on_batch is not None:
            on_batch(len(results))
    return results


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
