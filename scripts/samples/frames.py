"""Frames of a sample data set: rounded, labelled and written; how their labels are checked."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

DECIMALS = {"positions": 6, "cell": 6, "energy": 8, "forces": 6, "stress": 8, "dipole": 6, "charges": 6}
SPLITS = ("train", "val", "test")


def rounded(atoms: "Atoms") -> "Atoms":
    """A copy of the bare geometry with exactly the numbers that will be written."""
    from ase import Atoms

    return Atoms(
        atoms.get_chemical_symbols(),
        positions=np.round(atoms.positions, DECIMALS["positions"]),
        cell=np.round(np.asarray(atoms.cell), DECIMALS["cell"]) if atoms.pbc.any() else None,
        pbc=atoms.pbc,
    )


def frame(atoms: "Atoms", labels: dict[str, Any], **info: Any) -> "Atoms":
    """A frame to write: a geometry, its labels (rounded) and what identifies it."""
    from ase.calculators.singlepoint import SinglePointCalculator

    out = atoms.copy()
    labels = {k: np.round(v, DECIMALS[k]) + 0.0 for k, v in labels.items()}  # no -0.0
    labels["energy"] = float(labels["energy"])
    out.calc = SinglePointCalculator(out, **labels)
    out.info.update(info)
    return out


def write_frames(path: Path, frames: list) -> None:
    """Extended XYZ by ASE, then without the padding and the trailing zeros of the columns."""
    from ase.io import write

    write(path, frames, format="extxyz")
    lines = Path(path).read_text().splitlines()
    for i, line in enumerate(lines):
        if "=" not in line:  # a line with "=" is a comment line: Properties and the info keys
            line = re.sub(r"(\.\d*?)0+(?=\s|$)", lambda m: m[1] if len(m[1]) > 1 else ".0", line)
            lines[i] = re.sub(r" +", " ", line).strip()
    Path(path).write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(frames)} frames, {Path(path).stat().st_size / 1e6:.3f} MB", flush=True)


def difference(energy_of: Callable[[float], float], h: float) -> float:
    """Five-point central difference: the error goes as h^4."""
    return (8 * (energy_of(h) - energy_of(-h)) - (energy_of(2 * h) - energy_of(-2 * h))) / (12 * h)


def moved(atoms: "Atoms", i: int, c: int, h: float) -> "Atoms":
    """The atoms with coordinate c of atom i moved by h."""
    copy = rounded(atoms)
    copy.positions[i, c] += h
    return copy
