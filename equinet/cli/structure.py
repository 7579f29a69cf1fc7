"""Structures from files, and whether a model can use them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from equinet.data import read_atoms
from equinet.errors import InputError
from equinet.simulate.calculator import Calculator

if TYPE_CHECKING:
    from equinet.simulate.torchsim import TorchSimModel


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


def read_structures(paths: Sequence[Path], frame: str) -> list[tuple[str, Atoms]]:
    """Frames of files, each with what names it in a message, whatever is wrong with one: the others can be used.

    Raises:
        InputError: a file cannot be read, or `frame` selects none of it.
    """
    found = []
    for path in paths:
        frames = read_atoms(path, frame, checked=False)
        if not frames:
            raise InputError(f"{path}: {frame!r} selects no frame; give the number of one, or : for all")
        found += [(str(path) if len(frames) == 1 else f"{path}: frame {number}", atoms) for number, atoms in frames]
    return found


def torchsim_model(arguments: argparse.Namespace, uncertainty: Path | None = None) -> "TorchSimModel":
    """The model of a verb's arguments, for many structures at once; with error bars, if a file of them is given.

    Raises:
        InputError: it cannot be; torch-sim is not installed.
    """
    try:
        from equinet.simulate.torchsim import TorchSimModel
    except ImportError as error:
        raise InputError(f"several structures at once: {error}") from None
    return TorchSimModel(arguments.model, arguments.device, arguments.dtype, arguments.modal, uncertainty=uncertainty)
