"""Crystals with ASE's EMT, small and fast; calculators that do something wrong."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from equinet.simulate.properties import starting_structure


def relaxed(symbol: str, structure: str | None = None, **cell) -> Atoms:
    return starting_structure(bulk(symbol, structure, **cell), EMT(), "cell")


@pytest.fixture(scope="session")
def copper() -> Atoms:
    """The conventional cell, at its minimum."""
    return relaxed("Cu", cubic=True)


@pytest.fixture(scope="session")
def hexagonal() -> Atoms:
    """Copper as hcp: atoms move under strain in the plane, and c / a is free."""
    return relaxed("Cu", "hcp", a=2.55, c=4.16)


class Wrong(EMT):
    """EMT with a stress that is too large by some part."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["stress"] = self.results["stress"] * (1 + self.part)


class Pair(Calculator):
    """Two atoms whose energy and force are functions of their distance; atoms alone have none."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy, slope) -> None:
        super().__init__()
        self.functions = energy, slope

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = 0.0, np.zeros((len(atoms), 3))
        if len(atoms) == 2:
            way = atoms.positions[1] - atoms.positions[0]
            distance = np.linalg.norm(way)
            energy = float(self.functions[0](distance))
            forces[1] = -self.functions[1](distance) * way / distance
            forces[0] = -forces[1]
        self.results = {"energy": energy, "forces": forces}


class Uniform(Calculator):
    """Energy per atom and stress that are functions of the volume per atom."""

    implemented_properties = ("energy", "stress")

    def __init__(self, energy, slope) -> None:
        super().__init__()
        self.functions = energy, slope

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        volume = atoms.get_volume() / len(atoms)
        stress = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) * self.functions[1](volume)
        self.results = {"energy": float(self.functions[0](volume)) * len(atoms), "stress": stress}
