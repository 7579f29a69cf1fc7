"""Structures with their labels, and with predictions side by side, as files that any viewer opens."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from equinet.data.examples import Labels
from equinet.data.record import Record
from equinet.files import replacing
from equinet.graph import AtomicGraph


@dataclass(frozen=True)
class ComparedFrame:
    """A record and what a model says of it.

    Attributes:
        record: structure, labels, and what else the file said.
        energy: predicted, eV.
        forces: predicted, [N, 3] eV/Angstrom.
        stress: predicted, [3, 3] eV/Angstrom^3; None where there is none.
        info: more about the frame: numbers and text.
    """

    record: Record
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None
    info: Mapping[str, Any]


def write_compared(path: Path, frames: Sequence[ComparedFrame]) -> None:
    """Write extended XYZ with labels under ``REF_`` and predictions under ``predicted_`` (energy, forces, stress in
    ASE's order of six).

    Where forces are labelled, ``force_error`` is the length of each atom's error, eV/Angstrom, to colour atoms by. Keys
    of the record's info keep their names, unless one of ours has it: then ``original_`` stands before.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as partial:
        write(partial, [_atoms(frame) for frame in frames], format="extxyz")


def _atoms(frame: ComparedFrame) -> Atoms:
    record = frame.record
    atoms = Atoms(record.numbers, record.positions, cell=record.cell, pbc=record.pbc)
    ours: dict[str, Any] = dict(frame.info)
    if record.energy is not None:
        ours["REF_energy"] = record.energy
    ours["predicted_energy"] = frame.energy
    if record.forces is not None:
        atoms.arrays["REF_forces"] = record.forces
    atoms.arrays["predicted_forces"] = np.array(frame.forces)
    if record.forces is not None:
        atoms.arrays["force_error"] = np.linalg.norm(frame.forces - record.forces, axis=1)
    if record.stress is not None:
        ours["REF_stress"] = full_3x3_to_voigt_6_stress(record.stress)
    if frame.stress is not None:
        ours["predicted_stress"] = full_3x3_to_voigt_6_stress(frame.stress)
    for key, value in record.info.items():
        name = _name(key)
        taken = name in ours or name in atoms.arrays or name in _OF_THE_FORMAT
        atoms.info[f"original_{name}" if taken else name] = _value(value)
    atoms.info.update({key: _value(value) for key, value in ours.items()})
    return atoms


_OF_THE_FORMAT = frozenset({"Lattice", "Properties", "pbc", "energy", "forces", "stress", "virial", "species", "pos"})
"""Keys of extended XYZ that mean something of their own."""


def _name(key: str) -> str:
    """A key that every reader of extended XYZ takes."""
    return re.sub(r"[^\w.+-]", "_", key, flags=re.ASCII) or "_"


def _value(value: Any) -> Any:
    """Numbers and arrays of numbers as they are, everything else as one line of text."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Real | np.number):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and 0 < value.size <= 9:
        return value
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    return text.replace('"', "'").replace("\\", "/") or "(empty)"


def write_examples(path: Path, graph: AtomicGraph, labels: Labels, sources: Sequence[str]) -> None:
    """Write the structures of a batch, with the labels they have, as extended XYZ.

    Args:
        path: of the file.
        graph: B structures.
        labels: theirs.
        sources: where each came from; goes to ``info["source"]``.
    """
    frames = []
    batch = graph.batch.cpu()
    for b, source in enumerate(sources):
        own = batch == b
        atoms = Atoms(
            numbers=graph.numbers.cpu()[own].numpy(),
            positions=graph.positions.detach().cpu()[own].numpy(),
            cell=graph.cell[b].detach().cpu().numpy(),
            pbc=graph.pbc[b].cpu().numpy(),
            info={"source": source},
        )
        values: dict[str, Any] = {}
        if labels.has_energy[b]:
            values["energy"] = float(labels.energy[b])
        if labels.has_forces[b]:
            values["forces"] = labels.forces.cpu()[own].numpy()
        if labels.has_virial[b]:
            atoms.info["virial"] = labels.virial[b].cpu().numpy()
        atoms.calc = SinglePointCalculator(atoms, **values)
        frames.append(atoms)
    with replacing(path) as temporary:
        write(temporary, frames, format="extxyz")
