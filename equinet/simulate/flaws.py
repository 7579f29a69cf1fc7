"""Structures among thousands that a potential cannot take: found before the work starts, named, and passed over."""

from collections.abc import Sequence
from dataclasses import dataclass

from ase import Atoms

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.models import Potential


@dataclass(frozen=True)
class Flaw:
    """Why a structure was left out, or its run stopped.

    Attributes:
        index: of the structure, from 0.
        reason: one line.
    """

    index: int
    reason: str


def flaw_of(index: int, atoms: Atoms, potential: Potential) -> Flaw | None:
    """What keeps a potential from a structure: an element it does not know, two atoms at one place, no atoms."""
    try:
        potential.check_elements(graph_from_atoms(atoms, potential.cutoff).numbers)
    except InputError as error:
        return Flaw(index, str(error))
    return None


def in_batches(structures: Sequence[tuple[int, Atoms]], max_atoms: int) -> list[list[tuple[int, Atoms]]]:
    """Batches of at most so many atoms, in order; a structure with more is alone."""
    batches: list[list[tuple[int, Atoms]]] = []
    filled = max_atoms
    for index, atoms in structures:
        if not batches or filled + len(atoms) > max_atoms:
            batches.append([])
            filled = 0
        batches[-1].append((index, atoms))
        filled += len(atoms)
    return batches
