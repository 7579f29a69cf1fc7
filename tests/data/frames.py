"""Small labelled structures for the tests of reading."""

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.data import Record


def water(**results) -> Atoms:
    return labelled(molecule("H2O"), **results)


def silicon(**results) -> Atoms:
    return labelled(bulk("Si", cubic=True), **results)


def slab(**results) -> Atoms:
    atoms = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    atoms.info.clear()
    return labelled(atoms, **results)


def labelled(atoms: Atoms, **results) -> Atoms:
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def forces_of(atoms: Atoms, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(atoms), 3))


def written(folder, frames, name="frames.extxyz"):
    path = folder / name
    ase.io.write(path, frames)
    return path


def atom(symbol: str, energy: float | None, **changes) -> Record:
    """An isolated atom."""
    return record(symbol, energy, positions=[[0.0, 0.0, 0.0]], **changes)


def record(formula: str, energy: float | None = None, **changes) -> Record:
    """A row of atoms 1.5 A apart."""
    atoms = Atoms(formula)
    values = {
        "numbers": atoms.numbers,
        "positions": np.arange(len(atoms))[:, None] * np.array([[1.5, 0.0, 0.0]]),
        "cell": np.zeros((3, 3)),
        "pbc": np.zeros(3, dtype=bool),
        "energy": energy,
        "source": f"{formula} of the tests",
    }
    return Record(**{**values, **changes})
