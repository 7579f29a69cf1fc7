"""Configurations of moment tensor potentials (MLIP's .cfg): blocks from BEGIN_CFG to END_CFG.

eV and Angstrom. ``PlusStress`` is the stress times the volume in eV with the sign of VASP, positive under
compression: our virial, -volume * (stress in ASE's sign). Atom types are numbers; which elements they are the file
does not say.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io.formats import open_with_compression

from equinet.data.formats.options import NAME_ELEMENTS, FormatOptions
from equinet.errors import InputError

VOIGT = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures from frame ``start`` on.

    Raises:
        InputError: types without an element; a block that cannot be read, or without end.
    """
    with open_with_compression(str(path), "rt") as file:
        for frame, block in islice(enumerate(_blocks(file, path)), start, None):
            try:
                yield _structure(block, options.elements)
            except InputError as error:
                raise InputError(f"{path} frame {frame}: {error}") from error
            except (IndexError, ValueError, KeyError) as error:
                raise InputError(f"{path} frame {frame}: not an MTP configuration ({error}); correct it") from error


def _blocks(file: IO[str], path: Path) -> Iterator[list[str]]:
    block: list[str] | None = None
    for line in file:
        text = line.strip()
        if text == "BEGIN_CFG":
            if block is not None:
                raise InputError(
                    f"{path}: a configuration begins before the last one has its END_CFG; correct the file"
                )
            block = []
        elif text == "END_CFG" and block is not None:
            yield block
            block = None
        elif block is not None and text:
            block.append(text)
    if block is not None:
        raise InputError(f"{path}: the last configuration has no END_CFG; is the file complete?")


def _structure(block: list[str], elements: tuple[str, ...]) -> Atoms:
    lines = iter(block)
    size, cell, table, columns = 0, np.zeros((0, 3)), np.zeros((0, 0), dtype=object), [""]
    results: dict[str, object] = {}
    info: dict[str, object] = {}
    line = next(lines, "")
    while line:
        keyword, *rest = line.split()
        if keyword == "Size":
            size = int(rest[0] if rest else next(lines))
        elif keyword == "Supercell":
            rows = []
            for following in lines:
                if not _is_numeric(following):
                    line = following
                    break
                rows.append(following.split())
            else:
                line = ""
            cell = np.array(rows, dtype=float).reshape(-1, 3)
            continue
        elif keyword == "AtomData:":
            columns = rest
            table = np.array([row.split() for row in islice(lines, size)], dtype=object).reshape(size, len(columns))
        elif keyword == "Energy":
            results["energy"] = float(rest[0] if rest else next(lines))
        elif keyword == "PlusStress:":
            values = dict(zip(rest, next(lines).split(), strict=True))
            virial = np.zeros((3, 3))
            for name, (a, b) in VOIGT.items():
                virial[a, b] = virial[b, a] = float(values[name])
            info["virial"] = virial
        elif keyword in ("Stress:", "MinusStress:", "Virial:"):
            raise InputError(f"{keyword} has no sign that is agreed on; only PlusStress: is read")
        elif keyword == "Feature" and len(rest) > 1:
            info[rest[0]] = " ".join(rest[1:])
        line = next(lines, "")
    if not size or len(table) != size:
        raise ValueError(f"Size says {size} atoms, AtomData has {len(table)}")

    def vectors(*names: str) -> np.ndarray:
        return np.stack([table[:, columns.index(name)].astype(float) for name in names], axis=1)

    full = np.zeros((3, 3))
    full[: len(cell)] = cell
    if "direct_x" in columns:
        positions = vectors("direct_x", "direct_y", "direct_z") @ full
    else:
        positions = vectors("cartes_x", "cartes_y", "cartes_z")
    if "fx" in columns:
        results["forces"] = vectors("fx", "fy", "fz")
    numbers = [_number(kind, elements) for kind in table[:, columns.index("type")]]
    atoms = Atoms(numbers, positions, cell=full, pbc=np.arange(3) < len(cell), info=info)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _is_numeric(line: str) -> bool:
    try:
        [float(word) for word in line.split()]
    except ValueError:
        return False
    return True


def _number(kind: str, elements: tuple[str, ...]) -> int:
    """Atomic number of a type: a number that ``elements`` translates, or a symbol."""
    if kind.isdecimal():
        if int(kind) >= len(elements):
            raise InputError(f"atom type {kind} has no element; {NAME_ELEMENTS}")
        kind = elements[int(kind)]
    if kind not in atomic_numbers:
        raise InputError(f"{kind!r} is no element")
    return int(atomic_numbers[kind])
