"""The structures, and steps through an ASE calculator: the same lines for both sides. It needs torch and ASE alone."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import ase.build
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes

from benchmarks.ops.measure import peak_memory
from benchmarks.rows import versions

STEP = 0.01  # Angstrom, rms: from one evaluation to the next everything has moved, as in dynamics


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


@dataclass(frozen=True)
class Report:
    """What one process measured; printed as JSON."""

    versions: str
    steps: list[float]  # seconds of each timed evaluation, neighbour list included
    memory: float  # MiB, peak of all of them above what the process held before the first
    energy: float  # eV, of the first
    forces: list[list[float]]
    stress: list[float]


def parser() -> argparse.ArgumentParser:
    """Arguments that both sides take."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--structure", choices=list(STRUCTURES), required=True)
    arguments.add_argument("--steps", type=int, required=True)
    arguments.add_argument("--threads", type=int, required=True)
    return arguments


def measure(calculator: Any, structure: str, steps: int, *packages: str) -> Report:
    """Energy, forces and stress of a rattled structure, once to warm up and to compare, then while it moves."""
    atoms = STRUCTURES[structure]()
    random = np.random.default_rng(1)
    atoms.positions += 0.05 * random.standard_normal(atoms.positions.shape)
    first: dict[str, Any] = {}
    seconds = []

    def evaluate() -> None:
        calculator.calculate(atoms, ["energy", "forces", "stress"], all_changes)

    def run() -> None:
        evaluate()
        first.update({name: np.array(calculator.results[name]) for name in ("energy", "forces", "stress")})
        for _ in range(steps):
            atoms.positions += STEP * random.standard_normal(atoms.positions.shape)
            begin = perf_counter()
            evaluate()
            seconds.append(perf_counter() - begin)

    _, memory = peak_memory(torch.device("cpu"), run)
    return Report(
        versions=versions("torch", *packages),
        steps=seconds,
        memory=memory,
        energy=float(first["energy"]),
        forces=first["forces"].tolist(),
        stress=first["stress"].tolist(),
    )


def answer(report: Report) -> None:
    """Print the report for the process that waits for it, as the last line."""
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
