"""Seconds and memory of energy, forces and stress with SevenNet's potentials, against sevenn, which made them.

    python benchmarks/inference/step.py --json rows.json
    python benchmarks/inference/step.py --only 7net-0 --structure "Si 512"

Ours is the potential imported from sevenn's own environment and compiled (``equinet import``, ``equinet compile``).
Each side runs in a process of its own, through its ASE calculator, neighbour list included, on positions that move from
evaluation to evaluation; the processes take turns, and times are medians. Memory is the peak of the resident set above
what the loaded process held. A row whose results differ is not shown, and the exit status is then 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference.case import STRUCTURES, Report
from benchmarks.ops.measure import cpu_name
from benchmarks.peers import SEVENN, PeerError, peer_python
from benchmarks.rows import markdown_table, write_rows
from equinet.interop.sevennet import SHIPPED, import_sevennet
from equinet.models import save_model
from equinet.models.compilation import compile_potential

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("7net-0", "7net-l3i5")
SPEED_TARGET = 10.0  # times faster
MEMORY_TARGET = 4.0  # times less
ROUNDS = 3  # processes of each side
TOLERANCES = {"energy": 1e-5, "forces": 2e-4, "stress": 2e-5}  # eV/atom, eV/Angstrom, eV/Angstrom^3
COLUMNS = {
    "name": "",
    "atoms": "d",
    "ours_s": ".4f",
    "peer_s": ".3f",
    "ratio": ".1f",
    "ours_mb": ".0f",
    "peer_mb": ".0f",
}
COLUMNS |= {"less_memory": ".1f", "difference": ""}


def compiled(model: str, python: Path, folder: Path) -> Path:
    """Import a potential from the peer's environment, compile it, and return its file."""
    found = list(python.parents[1].glob(f"lib/*/site-packages/sevenn/pretrained_potentials/{SHIPPED[model]}"))
    path = folder / f"{model}.safetensors"
    save_model(compile_potential(import_sevennet(str(found[0]))).potential, path)
    return path


def run_side(python: Path, module: str, model: str, structure: str, steps: int, threads: int) -> Report:
    """Run a side in a process of its own.

    Raises:
        PeerError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), "-m", f"benchmarks.inference.{module}", f"--model={model}", f"--structure={structure}"]
    command += [f"--steps={steps}", f"--threads={threads}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = done.stderr.splitlines()[-15:]
        raise PeerError("\n".join([*tail, f"'{' '.join(command)}' failed (status {done.returncode})"]))
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def compare(model: str, path: Path, structure: str, steps: int, threads: int) -> dict[str, Any]:
    """Run both sides in turn; return the row.

    Raises:
        PeerError: a process failed, or the results differ.
    """
    python = peer_python(SEVENN)
    reports: dict[str, list[Report]] = {"peer": [], "ours": []}
    for _ in range(ROUNDS):
        for side, run in (
            ("peer", lambda: run_side(python, "sevenn_side", model, structure, steps, threads)),
            ("ours", lambda: run_side(Path(sys.executable), "ours", str(path), structure, 4 * steps, threads)),
        ):
            report = run()
            reports[side].append(report)
            times = report.steps
            seconds = f"{statistics.median(times):.4f} s ({min(times):.4f}..{max(times):.4f})"
            print(f"step: {model}, {structure}: {side}: {seconds}, {report.memory:.0f} MiB", file=sys.stderr)
    first, second = reports["peer"][0], reports["ours"][0]
    atoms = len(first.forces)
    differences = {
        "energy": abs(first.energy - second.energy) / atoms,
        "forces": float(np.abs(np.array(first.forces) - np.array(second.forces)).max()),
        "stress": float(np.abs(np.array(first.stress) - np.array(second.stress)).max()),
    }
    for name, value in differences.items():
        if not value <= TOLERANCES[name]:
            raise PeerError(f"{model}, {structure}: {name} differs by {value:.1e}, allowed {TOLERANCES[name]:.0e}")
    ours_s, peer_s = (
        statistics.median(second for report in reports[side] for second in report.steps) for side in ("ours", "peer")
    )
    ours_mb, peer_mb = (statistics.median(report.memory for report in reports[side]) for side in ("ours", "peer"))
    return {
        "name": f"{model}, {structure}",
        "atoms": atoms,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "ours_mb": ours_mb,
        "peer_mb": peer_mb,
        "less_memory": peer_mb / ours_mb,
        "difference": " ".join(f"{value:.0e}" for value in differences.values()),
        "versions": second.versions,
        "peer_versions": first.versions,
        "threads": threads,
        "cpu": cpu_name(),
    }


def main() -> int:
    """Measure the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument(
        "--steps", type=int, default=4, help="of the peer in each process; ours takes four times as many"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch, on both sides (default %(default)s)")
    parser.add_argument("--only", choices=MODELS, help="one potential alone")
    parser.add_argument("--structure", choices=list(STRUCTURES), help="one structure alone")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.threads) < 1:
        parser.error("--steps and --threads must be at least 1")
    rows: list[dict[str, Any]] = []
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS if arguments.only is None else (arguments.only,):
            path = compiled(model, peer_python(SEVENN), Path(folder))
            for structure in STRUCTURES if arguments.structure is None else (arguments.structure,):
                try:
                    rows.append(compare(model, path, structure, arguments.steps, arguments.threads))
                except PeerError as error:
                    print(f"step: error: {error}", file=sys.stderr)
                    refused += 1
                if arguments.json:
                    write_rows(arguments.json, rows)
    print(markdown_table(rows, COLUMNS))
    for row in rows[:1]:
        print(f"ours: {row['versions']}\npeer: {row['peer_versions']}\n{row['threads']} threads, {row['cpu']}")
    for row in rows:
        speed = "reached" if row["ratio"] >= SPEED_TARGET else "missed"
        memory = "reached" if row["less_memory"] >= MEMORY_TARGET else "missed"
        print(f"{row['name']}: {SPEED_TARGET:g} times faster: {speed}; {MEMORY_TARGET:g} times less memory: {memory}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
