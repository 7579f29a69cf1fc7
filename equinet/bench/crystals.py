"""Something to run dynamics on, for any model."""

from collections.abc import Sequence

import ase.build
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, reference_states

from equinet.simulate.structures import bulk

RATTLE = 0.05
"""Rms displacement of each coordinate, Angstrom: about what 300 K gives."""
CUBIC = ("diamond", "fcc", "bcc")


def crystal(species: Sequence[int], atoms: int) -> Atoms:
    """A rattled cubic supercell with about as many atoms: silicon if the model knows it, else its first element that
    crystallises in a cubic lattice at ASE's lattice constant, else a random packing of its elements.

    Args:
        species: atomic numbers that the model knows.
        atoms: wanted; the nearest cube of whole cells is taken, of one at least.
    """
    silicon = atomic_numbers["Si"]
    for number in [silicon] if silicon in species else species:
        state = reference_states[number]
        if state is not None and state["symmetry"] in CUBIC:
            cell = ase.build.bulk(chemical_symbols[number], cubic=True)  # structure and lattice constant by ASE's table
            break
    else:
        cell = bulk(species)
    repeated: Atoms = cell.repeat(max(1, round((atoms / len(cell)) ** (1 / 3))))
    repeated.positions += RATTLE * np.random.default_rng(0).standard_normal((len(repeated), 3))
    return repeated
