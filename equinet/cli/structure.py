"""One structure from a file, and whether a model can use it."""

from pathlib import Path

from ase import Atoms

from equinet.data import read_atoms
from equinet.errors import InputError
from equinet.simulate.calculator import Calculator


def read_structure(path: Path, frame: str = "-1") -> Atoms:
    """One frame of any file ASE reads (the last by default).

    Raises:
        InputError: the file cannot be read, or `frame` is no number of a frame.
    """
    found = read_atoms(path, frame)
    if len(found) != 1:
        raise InputError(f"{path}: {frame!r} selects {len(found)} frames; give the number of one")
    return found[0][1]


def check_usable(calculator: Calculator, atoms: Atoms, source: Path | str) -> None:
    """Tries the model once; the result is kept, so that the work to follow begins with it.

    Raises:
        InputError: what the model finds wrong with the structure, and where it came from.
    """
    try:
        calculator.get_property("energy", atoms)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
