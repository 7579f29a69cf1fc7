"""One side of a comparison: a process that runs dynamics with one ASE calculator and measures it.

It is run by its path with the Python of the package in question, so it imports torch, NumPy and ASE, and nothing of
equinet but our own calculator.
"""

import argparse
import ctypes
import gc
import json
import platform
import re
import resource
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import ase.io
import numpy as np
import torch
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

T = TypeVar("T")

MEBIBYTE = 2**20
WARM_UP = 1
"""Steps before those that count."""
LEAST = 3
"""Steps that count, however long they take."""


def ours(model: str, device: str, dtype: str | None, **arguments: Any) -> Any:
    """The calculator of a model file of ours."""
    from equinet.simulate import Calculator

    return Calculator(model, device=device, dtype=dtype, **arguments)


def sevennet(model: str, device: str, _dtype: str | None, **arguments: Any) -> Any:
    """SevenNet's own, of a checkpoint or of a potential that its package ships; it knows float32 alone."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(model, device=device, **arguments)


def mace(model: str, device: str, dtype: str | None, **arguments: Any) -> Any:
    """MACE's own, of a model file."""
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=model, device=device, default_dtype=dtype or "float32", **arguments)


def nequip(model: str, device: str, _dtype: str | None, **arguments: Any) -> Any:
    """NequIP's own, of a file that ``nequip-compile --target ase`` made; its precision is the file's."""
    from nequip.integrations.ase import NequIPCalculator

    return NequIPCalculator.from_compiled_model(model, device=device, **arguments)


CALCULATORS: dict[str, tuple[Callable[..., Any], str]] = {
    "equinet": (ours, "equinet-mlip"),
    "sevennet": (sevennet, "sevenn"),
    "mace": (mace, "mace-torch"),
    "nequip": (nequip, "nequip"),
}
"""How each makes its calculator, and its distribution."""


class Stopwatch:
    """A function that adds up the seconds spent in it."""

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self.function, self.device, self.seconds = function, device, 0.0

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """What the function returns."""
        begin = perf_counter()
        result = self.function(*arguments, **keywords)
        synchronize(self.device)
        self.seconds += perf_counter() - begin
        return result


def measure(calculator: Any, atoms: Any, device: torch.device, seconds: float, timestep: float) -> dict[str, Any]:
    """Run constant-energy dynamics from 300 K and time its steps, each with energy, forces and, for a crystal, stress.

    Args:
        calculator: any ASE calculator; where it is ours, neighbour list and model are timed apart.
        atoms: the start.
        device: of the calculator.
        seconds: of steps that count, at least; and LEAST steps.
        timestep: fs.

    Returns:
        energy (eV), forces (eV/Angstrom) and stress (eV/Angstrom^3) of the start; seconds of each step, of its
        neighbour list and of its model; the number of neighbour searches; peak memory in MiB above what was in use
        before the first evaluation.
    """
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    Stationary(atoms)
    atoms.calc = calculator
    parts: list[Stopwatch] = []
    if hasattr(calculator, "neighbors"):
        parts = [Stopwatch(calculator.neighbors.graph, device), Stopwatch(calculator.potential.forward, device)]
        calculator.neighbors.graph, calculator.potential.forward = parts
    found: dict[str, Any] = {}
    rows: list[list[float]] = []

    def run() -> None:
        found["energy"] = float(atoms.get_potential_energy())
        found["forces"] = atoms.get_forces()
        found["stress"] = atoms.get_stress().tolist() if atoms.pbc.all() else None
        dynamics = VelocityVerlet(atoms, timestep * units.fs)
        dynamics.run(WARM_UP)
        while len(rows) < LEAST or sum(row[0] for row in rows) < seconds:
            for part in parts:
                part.seconds = 0.0
            begin = perf_counter()
            dynamics.run(1)
            synchronize(device)
            rows.append([perf_counter() - begin, *(part.seconds for part in parts)])

    _, memory = peak_memory(device, run)
    if not np.isfinite(atoms.get_potential_energy()):
        raise FloatingPointError("the dynamics exploded; take a relaxed structure or a shorter time step")
    columns = list(map(list, zip(*rows, strict=True)))
    return found | {
        "forces": found["forces"].tolist(),
        "step_s": columns[0],
        "list_s": columns[1] if parts else None,
        "model_s": columns[2] if parts else None,
        "searches": calculator.neighbors.searches if parts else None,
        "memory_mb": memory,
    }


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device, call: Callable[[], T]) -> tuple[T, float]:
    """Run a call and return its result and by how many MiB memory rose above what was in use before.

    On a CPU that is the high-water mark of the resident set. Linux resets it on request, and memory that earlier calls
    freed is given back first, or its reuse would go unseen; elsewhere the mark is of the whole process.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        torch.cuda.synchronize(device)
        return result, (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE
    if sys.platform != "linux":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = call()
        return result, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MEBIBYTE  # bytes on macOS
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    result = call()
    return result, (_resident("VmHWM") - before) / MEBIBYTE


def processor_name() -> str:
    """Of this machine."""
    found = None
    if sys.platform == "linux":
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.processor() or platform.machine()


def _resident(field: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(found[1]) * 1024


def main() -> None:
    """Measure what the arguments say and write the answer, JSON, to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=CALCULATORS)
    parser.add_argument("model")
    parser.add_argument("structure")
    parser.add_argument("answer", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--timestep", type=float, required=True)
    parser.add_argument("--arguments", type=json.loads, default={})
    given = parser.parse_args()
    make, distribution = CALCULATORS[given.package]
    calculator = make(given.model, given.device, given.dtype, **given.arguments)
    atoms = ase.io.read(given.structure)
    found = measure(calculator, atoms, torch.device(given.device), given.seconds, given.timestep)
    found |= {"version": f"{distribution} {version(distribution)}, torch {torch.__version__}"}
    found |= {"threads": torch.get_num_threads()}
    given.answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
