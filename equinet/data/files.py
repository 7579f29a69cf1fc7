"""Any file ASE reads, as a list of structures; whatever is wrong with it is one line."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.formats import open_with_compression, string2index

from equinet.errors import InputError


def read_atoms(path: str | Path, index: str | int = ":") -> list[tuple[int, Atoms]]:
    """Read structures and the number of the frame each came from.

    Args:
        path: any format ASE knows, also compressed (.gz, .bz2, .xz), and ASE databases (.db).
        index: a frame number or a slice in ASE's notation ("0", "-1", ":100", "::10").

    Returns:
        (frame number counted from 0, structure), in the order of the file. Never empty.

    Raises:
        InputError: no such file; not readable, truncated or empty; no such frame; numbers that are not
            finite.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        frames = list(_read_database(path)) if path.suffix == ".db" else _read_all(path)
    except InputError:
        raise
    except Exception as error:  # readers fail in every way: XYZError, KeyError, EOFError, StopIteration, ...
        reason = " ".join(str(error).split()) or "no reason given"
        raise InputError(
            f"{path}: cannot be read as atomic structures ({type(error).__name__}: {reason[:200]}); "
            "is the file complete, and its format one that ASE reads?"
        ) from error
    if not frames:
        raise InputError(f"{path}: holds no structures")
    try:
        wanted = string2index(index) if isinstance(index, str) else index
        numbers = range(len(frames))[wanted] if isinstance(wanted, slice) else [range(len(frames))[int(wanted)]]
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{path}: no frame {index!r} among its {len(frames)}; give a number or a slice such as ':100'"
        ) from error
    chosen = [(number, frames[number]) for number in numbers]
    if not chosen:
        raise InputError(f"{path}: {index!r} selects none of its {len(frames)} frames")
    for frame, atoms in chosen:
        if len(atoms) == 0:
            raise InputError(f"{path} frame {frame}: the structure has no atoms; remove it")
        bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        if len(bad):
            raise InputError(
                f"{path} frame {frame}: the position of atom {bad[0]} is not finite; correct or remove the frame"
            )
        if (atoms.numbers < 1).any():
            raise InputError(
                f"{path} frame {frame}: atom {int(atoms.numbers.argmin())} has no element; correct or remove the frame"
            )
        if not np.isfinite(atoms.cell.array).all():
            raise InputError(f"{path} frame {frame}: the cell is not finite; correct or remove the frame")
    return chosen


def _read_all(path: Path) -> list[Atoms]:
    if {".xyz", ".extxyz"} & set(path.suffixes):
        # in memory: ASE seeks back and forth, which in a compressed file means decompressing from the start each time
        with open_with_compression(str(path), "rt") as file:
            text = StringIO(file.read())
        _refuse_blank_lines_between_frames(text, path)
        text.seek(0)
        return list(read(text, index=":", format="extxyz"))
    frames = read(path, index=":", do_not_split_by_at_sign=True)
    return frames if isinstance(frames, list) else [frames]


def _refuse_blank_lines_between_frames(lines: StringIO, path: Path) -> None:
    """ASE takes a blank line between frames for the end of the file and drops the rest without a word."""
    for frame, line in enumerate(lines):  # lines are eaten below: one turn per frame
        if not line.strip():
            if any(rest.strip() for rest in lines):
                raise InputError(
                    f"{path}: a blank line follows frame {frame - 1}, and more text after it; "
                    "remove blank lines between frames"
                )
            return
        if not line.strip().isdecimal():
            return  # not a count of atoms: ASE's reader says what is wrong
        for _ in range(int(line) + 1):
            next(lines, None)


def _read_database(path: Path) -> Iterator[Atoms]:
    """Rows of an ASE database; what its ``data`` and key-value pairs hold joins info."""
    from ase.db import connect

    with connect(path, serial=True) as database:
        units = (database.metadata or {}).get("_property_unit_dict", {})
        foreign = {name: unit for name, unit in units.items() if unit not in _OUR_UNITS.get(name, (unit,))}
        if foreign:
            said = ", ".join(f"{name} in {unit}" for name, unit in sorted(foreign.items()))
            raise InputError(f"{path}: its metadata say {said}; convert to eV and Angstrom first")
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info.update({name: value for name, value in row.data.items() if value is not None})
            yield atoms


_OUR_UNITS = {
    "energy": ("eV",),
    "forces": ("eV/Ang", "eV/Angstrom", "eV/A"),
    "stress": ("eV/Ang^3", "eV/Ang**3", "eV/A^3", "eV/Ang/Ang/Ang"),
}
"""What SchNetPack's databases may say of the labels that are looked for without being named."""
