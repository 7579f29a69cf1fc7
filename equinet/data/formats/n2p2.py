"""Data files of n2p2 and RuNNer (input.data): blocks from ``begin`` to ``end``.

Each has lines ``lattice x y z`` (three, or none), ``atom x y z element charge unused fx fy fz``, ``energy E``,
``charge Q`` and ``comment ...``. Units are not written down; custom is Hartree and Bohr.
https://compphysvienna.github.io/n2p2/topics/cfg_file.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import open_with_compression
from ase.units import Bohr, Hartree

from equinet.data.formats.options import FormatOptions, Units
from equinet.errors import InputError


@dataclass(frozen=True)
class UnitsOfFile:
    """Energy and length of a file in eV and Angstrom, and how to say it."""

    energy: float
    length: float
    text: str


UNITS: dict[Units, UnitsOfFile] = {
    "atomic": UnitsOfFile(Hartree, Bohr, "Hartree, Bohr; converted to eV, Angstrom"),
    "metal": UnitsOfFile(1.0, 1.0, "eV, Angstrom"),
}


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures from frame ``start`` on.

    Raises:
        InputError: a line that cannot be, or a block without end.
    """
    with open_with_compression(str(path), "rt") as file:
        for frame, block in islice(enumerate(_blocks(file, path)), start, None):
            try:
                yield _structure(block, UNITS[options.n2p2_units])
            except (IndexError, ValueError, KeyError) as error:
                raise InputError(f"{path} frame {frame}: not a block of n2p2 ({error}); correct the file") from error


def _blocks(file: IO[str], path: Path) -> Iterator[list[list[str]]]:
    """The lines of each block, split into words."""
    block: list[list[str]] | None = None
    for number, line in enumerate(file, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "begin":
            if block is not None:
                raise InputError(f"{path}: line {number}: a block begins before the last one has its 'end'; correct it")
            block = []
        elif block is None:
            raise InputError(f"{path}: line {number} stands outside a block from 'begin' to 'end'; correct the file")
        elif words[0] == "end":
            yield block
            block = None
        else:
            block.append(words)
    if block is not None:
        raise InputError(f"{path}: the last block has no 'end'; is the file complete?")


def _structure(block: list[list[str]], units: UnitsOfFile) -> Atoms:
    lines: dict[str, list[list[str]]] = {}
    for name, *words in block:
        lines.setdefault(name, []).append(words)
    atoms_lines = lines.get("atom", [])
    cell = np.array([words[:3] for words in lines.get("lattice", [])], dtype=float) * units.length
    if len(cell) not in (0, 3):
        raise ValueError(f"{len(cell)} lattice vectors")
    atoms = Atoms(
        [words[3] for words in atoms_lines],
        np.array([words[:3] for words in atoms_lines], dtype=float).reshape(-1, 3) * units.length,
        cell=cell if len(cell) else None,
        pbc=bool(len(cell)),
    )
    results: dict[str, object] = {}
    if "energy" in lines:
        results["energy"] = float(lines["energy"][0][0]) * units.energy
    if all(len(words) >= 9 for words in atoms_lines):
        forces = np.array([words[6:9] for words in atoms_lines], dtype=float).reshape(-1, 3)
        results["forces"] = forces * (units.energy / units.length)
    atoms.calc = SinglePointCalculator(atoms, **results)
    if "charge" in lines:
        atoms.info["charge"] = float(lines["charge"][0][0])
    if "comment" in lines:
        atoms.info["comment"] = " ".join(lines["comment"][0])
    return atoms
