"""What a step of dynamics costs, measured in a process of its own for each package and structure."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from equinet.bench import side
from equinet.errors import InputError

SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class Side:
    """A package and a potential of it.

    Attributes:
        package: "equinet", "sevennet", "mace" or "nequip".
        model: a file, or a name that the package knows.
        python: of the environment that has the package.
        device: "cpu", "cuda" or "cuda:N".
        dtype: "float32", "float64", or None: as the model is.
        arguments: more keyword arguments of its calculator.
    """

    package: str
    model: str
    python: str = sys.executable
    device: str = "cpu"
    dtype: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What was measured. Times are medians over the steps, in seconds.

    Attributes:
        package: of the side.
        version: of the package and of its torch.
        threads: of torch.
        atoms: number of atoms.
        step: one step of dynamics, everything included.
        neighbor_list: its part of the step; None where the calculator is another package's.
        model: energy, forces and stress from the graph; None as above.
        overhead: integrator, ASE and conversions: what is neither of these; None as above.
        steps: how many counted.
        searches: for neighbours, in all steps; None as above.
        memory: peak in MiB, above what the loaded process held.
        energy: of the start, eV.
        forces: of the start, [N, 3] eV/Angstrom.
        stress: of the start, [6] eV/Angstrom^3; None unless periodic in three directions.
    """

    package: str
    version: str
    threads: int
    atoms: int
    step: float
    neighbor_list: float | None
    model: float | None
    overhead: float | None
    steps: int
    searches: int | None
    memory: float
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None

    def ns_per_day(self, timestep: float) -> float:
        """Simulated time in a day with a time step in fs, ns."""
        return SECONDS_PER_DAY / self.step * timestep * 1e-6


@dataclass(frozen=True)
class Difference:
    """Largest differences between the results of two sides."""

    energy: float  # eV/atom
    forces: float  # eV/Angstrom
    stress: float  # eV/Angstrom^3; 0 where there is none


def measure_side(run: Side, atoms: Atoms, seconds: float, timestep: float) -> Cost:
    """Run dynamics from 300 K in a process of its own.

    Args:
        run: what runs.
        atoms: the start.
        seconds: of steps that count, at least; three steps count in any case.
        timestep: fs.

    Raises:
        InputError: the process failed; with the last line that it said.
    """
    environment = dict(os.environ)
    if run.python != sys.executable:
        environment.pop("PYTHONPATH", None)  # it is ours
    with tempfile.TemporaryDirectory() as folder:
        structure, answer = Path(folder, "start.traj"), Path(folder, "answer.json")
        ase.io.write(structure, Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
        command = [run.python, side.__file__, run.package, run.model, str(structure), str(answer)]
        command += ["--device", run.device, *(["--dtype", run.dtype] if run.dtype else [])]
        command += ["--seconds", str(seconds), "--timestep", str(timestep), "--arguments", json.dumps(run.arguments)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(f"{run.package}: {run.python} cannot be run ({error.strerror})") from None
        if done.returncode:
            raise InputError(f"{run.package}, {len(atoms)} atoms: {_reason(run, done)}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    ours = found["list_s"] is not None
    rows = zip(*(found[name] for name in ("step_s", "list_s", "model_s")), strict=True) if ours else ()
    overheads = [step - neighbor_list - model for step, neighbor_list, model in rows]
    return Cost(
        package=run.package,
        version=found["version"],
        threads=found["threads"],
        atoms=len(atoms),
        step=statistics.median(found["step_s"]),
        neighbor_list=statistics.median(found["list_s"]) if ours else None,
        model=statistics.median(found["model_s"]) if ours else None,
        overhead=statistics.median(overheads) if ours else None,
        steps=len(found["step_s"]),
        searches=found["searches"],
        memory=found["memory_mb"],
        energy=found["energy"],
        forces=np.array(found["forces"]),
        stress=None if found["stress"] is None else np.array(found["stress"]),
    )


def difference(one: Cost, other: Cost) -> Difference:
    """How far the results of two sides for the same start are apart."""
    stress = 0.0
    if one.stress is not None and other.stress is not None:
        stress = float(np.abs(one.stress - other.stress).max())
    forces = float(np.abs(one.forces - other.forces).max())
    return Difference(abs(one.energy - other.energy) / one.atoms, forces, stress)


def _reason(run: Side, done: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed, in a line."""
    if done.returncode < 0:
        return f"its process was killed by signal {-done.returncode}; was memory too short?"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
    if reason.startswith("ModuleNotFoundError"):
        distribution = side.CALCULATORS[run.package][1]
        return (
            f"{reason} in {run.python}; install it there ('{run.python} -m pip install {distribution}'), or give the "
            "Python of an environment of its own (--peer-python)"
        )
    return reason
