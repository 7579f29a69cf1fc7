"""Dynamics and relaxations of many structures at once against one after the other in ASE, with the same model.

    python benchmarks/simulate/batched.py model.safetensors --json rows.json
    python benchmarks/simulate/batched.py model.safetensors --structures frames.extxyz --device cuda --max-atoms 100000

Both sides take turns in this process, round after round; numbers are medians. same_end counts the structures that
end at the same energy within SAME on both sides: of dynamics all must; relaxations in a rough landscape may part.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms

from benchmarks.inference.case import silicon
from benchmarks.rows import markdown_table, versions, write_rows
from equinet.bench.side import processor_name
from equinet.simulate import Calculator, Ensemble, thermalize
from equinet.simulate.batched_dynamics import BatchedDynamics
from equinet.simulate.batched_relaxation import Settings, relax_in_batches, relax_one_by_one
from equinet.simulate.budget import CPU_ATOMS, atoms_at_once
from equinet.simulate.engine import AseEngine
from equinet.simulate.propagation import Propagator
from equinet.simulate.torchsim import TorchSimModel

RATTLE = 0.08  # Angstrom, rms of each coordinate
SAME = 1e-3  # eV/atom, two minima
COLUMNS = {
    "work": "",
    "structures": "d",
    "atoms": "d",
    "ase_s": ".2f",
    "batched_s": ".2f",
    "times_faster": ".2f",
    "steps_per_s": ".0f",
    "same_end": "d",
}


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    structures = _structures(arguments)
    model = TorchSimModel(arguments.model, arguments.device)
    max_atoms = arguments.max_atoms or atoms_at_once(model.potential, structures)
    works = {
        f"MD, {arguments.steps} steps": lambda: _dynamics(structures, model, arguments, max_atoms),
        "relaxation": lambda: _relaxation(structures, model, Settings(fmax=arguments.fmax), max_atoms),
        "relaxation, cells": lambda: _relaxation(
            structures, model, Settings(cell=True, fmax=arguments.fmax), max_atoms
        ),
    }
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else processor_name()
    print(f"{where}, {torch.get_num_threads()} threads, {versions('torch', 'torch-sim-atomistic', 'ase')}")
    rows = [_row(name, work, structures, max_atoms, arguments.rounds) for name, work in works.items()]
    print(markdown_table(rows, COLUMNS))
    if arguments.json:
        write_rows(arguments.json, [row | {"where": where, "threads": torch.get_num_threads()} for row in rows])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--structures", type=Path, help="a file; without it rattled and strained silicon")
    parser.add_argument("--count", type=int, default=32, help="structures (default: 32)")
    parser.add_argument("--steps", type=int, default=50, help="of dynamics (default: 50)")
    parser.add_argument("--fmax", type=float, default=0.05, help="of relaxations, eV/Angstrom (default: 0.05)")
    parser.add_argument("--max-atoms", type=int, help=f"in a batch (default: measured; {CPU_ATOMS} on a CPU)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _structures(arguments: argparse.Namespace) -> list[Atoms]:
    if arguments.structures:
        return list(ase.io.read(arguments.structures, f":{arguments.count}"))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(arguments.count):
        atoms = silicon(1)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        atoms.positions += RATTLE * rng.standard_normal(atoms.positions.shape)
        found.append(atoms)
    return found


Side = Callable[[], "tuple[np.ndarray, int]"]  # energies at the end, and steps of single structures


def _dynamics(
    structures: Sequence[Atoms], model: TorchSimModel, arguments: argparse.Namespace, max_atoms: int
) -> tuple[Side, Side]:
    ensemble = Ensemble("nve", 1.0, 300.0)
    steps = arguments.steps

    def one_by_one() -> tuple[np.ndarray, int]:
        calculator = Calculator(model.potential)
        ends = []
        for index, start in enumerate(structures):
            atoms = start.copy()
            atoms.calc = calculator
            thermalize(atoms, 300.0, [0, 2, index])
            propagator = Propagator(AseEngine(atoms, ensemble), [atoms], ensemble)
            observation = propagator.observe()
            for _ in range(steps):
                observation = propagator.advance(observation)
            ends.append(float(observation.potential[0]))
        return np.array(ends), steps * len(structures)

    def batched() -> tuple[np.ndarray, int]:
        with tempfile.TemporaryDirectory() as folder:
            work = BatchedDynamics(
                structures, model, ensemble, steps, Path(folder), interval=steps, max_atoms=max_atoms
            )
            work.run()
            paths = [work.trajectories.path(index) for index in range(len(structures))]
            return np.array([ase.io.read(path, "-1").get_potential_energy() for path in paths]), steps * len(structures)

    return one_by_one, batched


def _relaxation(
    structures: Sequence[Atoms], model: TorchSimModel, settings: Settings, max_atoms: int
) -> tuple[Side, Side]:
    numbered = list(enumerate(structures))

    def end(method: Callable[[], Any]) -> tuple[np.ndarray, int]:
        ended = sorted(method(), key=lambda each: each.index)
        return np.array([each.atoms.get_potential_energy() for each in ended]), sum(each.steps for each in ended)

    return (
        lambda: end(lambda: relax_one_by_one(numbered, model.potential, settings)),
        lambda: end(lambda: relax_in_batches(numbered, model, settings, max_atoms)),
    )


def _row(
    name: str, work: Callable[[], tuple[Side, Side]], structures: Sequence[Atoms], max_atoms: int, rounds: int
) -> dict[str, Any]:
    sides = work()
    seconds: list[list[float]] = [[], []]
    ends: list[Any] = [None, None]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            begin = time.perf_counter()
            ends[number] = side()
            seconds[number].append(time.perf_counter() - begin)
    ase_s, batched_s = map(statistics.median, seconds)
    atoms = np.array([len(each) for each in structures])
    apart = abs(ends[0][0] - ends[1][0]) / atoms
    return {
        "work": name,
        "structures": len(structures),
        "atoms": int(atoms.sum()),
        "max_atoms": max_atoms,
        "ase_s": ase_s,
        "batched_s": batched_s,
        "times_faster": ase_s / batched_s,
        "steps_ase": ends[0][1],
        "steps_batched": ends[1][1],
        "steps_per_s": ends[1][1] / batched_s,
        "same_end": int((apart < SAME).sum()),
        "seconds_ase": seconds[0],
        "seconds_batched": seconds[1],
    }


if __name__ == "__main__":
    sys.exit(main())
