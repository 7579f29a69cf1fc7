"""Any file we read, as structures; whatever is wrong with it is one line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.formats import string2index

from equinet.data.formats import FormatOptions, detect_format
from equinet.data.label_units import FileUnits
from equinet.errors import InputError


def iterate_atoms(
    path: str | Path, options: FormatOptions | None = None, start: int = 0
) -> Iterator[tuple[int, Atoms]]:
    """Read one structure after the other, with the number of its frame; memory holds one at a time.

    Formats that ASE itself reads whole (json, for instance) are in memory as long as they are read.

    Args:
        path: any format ASE knows, also compressed (.gz, .bz2, .xz); ASE databases (.db, .aselmdb); trajectories of
            torch-sim (.h5, .hdf5, .h5md); DeePMD-kit folders; n2p2 and MTP files.
        options: what such files leave open.
        start: the first frame wanted, counted from 0.

    Raises:
        InputError: no such file; not readable, truncated or empty; numbers that are not finite.
    """
    for frame, atoms in iterate_unchecked(Path(path), options or FormatOptions(), start):
        _check(atoms, f"{path} frame {frame}")
        yield frame, atoms


def iterate_unchecked(path: Path, options: FormatOptions, start: int = 0) -> Iterator[tuple[int, Atoms]]:
    """The same, whatever positions and elements are, for those who judge every structure themselves.

    Raises:
        InputError: no such file; not readable, truncated or empty.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    frame = start - 1
    try:
        for frame, atoms in enumerate(detect_format(path, options).read(path, options, start), start):
            yield frame, atoms
    except InputError:
        raise
    except Exception as error:  # readers fail in every way: XYZError, KeyError, EOFError, StopIteration, ...
        reason = " ".join(str(error).split()) or "no reason given"
        raise InputError(
            f"{path}: cannot be read as atomic structures after {frame + 1} frames ({type(error).__name__}: "
            f"{reason[:200]}); is the file complete, and its format one that ASE reads?"
        ) from error
    if frame < 0:
        raise InputError(f"{path}: holds no structures")


def units_of(path: str | Path, options: FormatOptions | None = None) -> FileUnits:
    """What the labels of a file or folder that is there are in, by its format and by what it says itself."""
    kind = detect_format(Path(path), options or FormatOptions())
    return FileUnits(kind.units, kind.units_of_keys(Path(path)))


def read_atoms(
    path: str | Path, index: str | int = ":", options: FormatOptions | None = None, *, checked: bool = True
) -> list[tuple[int, Atoms]]:
    """Read structures and the number of the frame each came from.

    Args:
        path: as for :func:`iterate_atoms`.
        index: a frame number or a slice in ASE's notation ("0", "-1", ":100", "::10").
        options: as for :func:`iterate_atoms`.
        checked: False leaves numbers that are not finite to those who judge every structure themselves.

    Returns:
        (frame number counted from 0, structure), in the order of the file. Never empty.

    Raises:
        InputError: as :func:`iterate_atoms`; no such frame.
    """
    frames = list(iterate_unchecked(Path(path), options or FormatOptions(), 0))
    try:
        wanted = string2index(index) if isinstance(index, str) else index
        chosen = frames[wanted] if isinstance(wanted, slice) else [frames[int(wanted)]]
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{path}: no frame {index!r} among its {len(frames)}; give a number or a slice such as ':100'"
        ) from error
    if not chosen:
        raise InputError(f"{path}: {index!r} selects none of its {len(frames)} frames")
    if checked:
        for frame, atoms in chosen:
            _check(atoms, f"{path} frame {frame}")
    return chosen


def _check(atoms: Atoms, source: str) -> None:
    if len(atoms) == 0:
        raise InputError(f"{source}: the structure has no atoms; remove it")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise InputError(f"{source}: the position of atom {bad[0]} is not finite; correct or remove the frame")
    if (atoms.numbers < 1).any():
        raise InputError(f"{source}: atom {int(atoms.numbers.argmin())} has no element; correct or remove the frame")
    if not np.isfinite(atoms.cell.array).all():
        raise InputError(f"{source}: the cell is not finite; correct or remove the frame")
