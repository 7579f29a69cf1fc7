"""The structures of the comparison."""

from collections.abc import Callable

import ase.build
import numpy as np
from ase import Atoms

RATTLE = 0.05  # Angstrom, rms of each coordinate


def silicon(cells: int) -> Atoms:
    """Diamond, 8 atoms a cell."""
    return ase.build.bulk("Si", "diamond", 5.43, cubic=True).repeat(cells)


def cristobalite() -> Atoms:
    """SiO2, idealised: silicon on the diamond lattice, oxygen between neighbours; 192 atoms."""
    crystal = ase.build.bulk("Si", "diamond", 7.16, cubic=True)
    bonds = [[1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]
    corners = [[0, 0, 0], [0, 4, 4], [4, 0, 4], [4, 4, 0]]
    oxygen = np.array([np.array(a) + b for a in corners for b in bonds]) * 7.16 / 8
    return (crystal + Atoms("O16", oxygen)).repeat(2)


def alloy() -> Atoms:
    """NbMoTaW at random on the bcc lattice; 128 atoms."""
    atoms = ase.build.bulk("W", "bcc", 3.24, cubic=True).repeat(4)
    atoms.set_chemical_symbols(np.random.default_rng(0).choice(["Nb", "Mo", "Ta", "W"], len(atoms)))
    return atoms


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "Si 64": lambda: silicon(2),
    "Si 216": lambda: silicon(3),
    "Si 512": lambda: silicon(4),
    "SiO2 192": cristobalite,
    "NbMoTaW 128": alloy,
}


def rattled(name: str) -> Atoms:
    """One of the structures, off its lattice sites."""
    atoms = STRUCTURES[name]()
    atoms.positions += RATTLE * np.random.default_rng(1).standard_normal(atoms.positions.shape)
    return atoms
