"""Seconds and memory of one evaluation as the structure grows: energy, forces and stress of rattled silicon.

    python benchmarks/inference/size.py 7net-0-fast.safetensors --json rows.json
    python benchmarks/inference/size.py 7net-0-fast.safetensors --cells 29

Each size runs in a process of its own; the neighbour list is timed beside the model. Memory is the peak of the resident
set above what the loaded process held.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.rows import markdown_table, write_rows

CELLS = (4, 8, 12, 18)  # 512 to 46,656 atoms
COLUMNS = {"atoms": "d", "edges": "d", "list_s": ".3f", "model_s": ".3f", "us_per_atom": ".0f", "memory_mb": ".0f"}


def measure(model: str, cells: int, rounds: int) -> dict[str, Any]:
    """One size, in this process."""
    import numpy as np
    import torch

    from benchmarks.inference.case import silicon
    from benchmarks.ops.measure import peak_memory
    from equinet.data import graph_from_atoms
    from equinet.models import load_model

    torch.set_num_threads(2)
    potential = load_model(model)
    potential(graph_from_atoms(silicon(2), potential.cutoff))  # loads what is loaded late
    atoms = silicon(cells)
    atoms.positions += 0.05 * np.random.default_rng(0).standard_normal(atoms.positions.shape)
    times: list[tuple[float, float]] = []

    def run() -> int:
        edges = 0
        for _ in range(rounds):
            marks = [perf_counter()]
            graph = graph_from_atoms(atoms, potential.cutoff)
            marks.append(perf_counter())
            prediction = potential(graph)
            marks.append(perf_counter())
            assert torch.isfinite(prediction.forces).all()
            times.append((marks[1] - marks[0], marks[2] - marks[1]))
            edges = len(graph.senders)
        return edges

    edges, memory = peak_memory(torch.device("cpu"), run)
    list_s, model_s = (min(column) for column in zip(*times, strict=True))
    return {
        "atoms": len(atoms),
        "edges": edges,
        "list_s": list_s,
        "model_s": model_s,
        "us_per_atom": (list_s + model_s) / len(atoms) * 1e6,
        "memory_mb": memory,
    }


def main() -> int:
    """Measure the sizes and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file that knows silicon")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=list(CELLS), help="edge of the cube, in cells of 8 atoms"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each size; the fastest counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # a size, for the process that waits
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(measure(arguments.model, arguments.cells[0], arguments.rounds)) + "\n")
        return 0
    rows = []
    for cells in arguments.cells:
        command = [sys.executable, "-m", "benchmarks.inference.size", arguments.model, "--one"]
        command += ["--cells", str(cells), "--rounds", str(arguments.rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write("\n".join(done.stderr.splitlines()[-5:]) + "\n")
            return 1
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        if arguments.json:
            write_rows(arguments.json, rows)
    print(markdown_table(rows, COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
