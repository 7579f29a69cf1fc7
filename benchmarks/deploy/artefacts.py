"""Seconds of an evaluation (energy, forces, stress) by exported artefacts, against the model that they came from.

    python benchmarks/deploy/artefacts.py model.safetensors --structure "Si 512"

All in one process, taking turns on the same graph; medians of rounds. "library" calls the compiled operators, "torch"
plain torch alone; native is what equinet's own calculator calls.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.inference.case import STRUCTURES, rattled
from benchmarks.rows import markdown_table, write_rows
from equinet.bench.side import processor_name
from equinet.data import graph_from_atoms
from equinet.deploy import export_model, load_artefact
from equinet.models import Potential, load_model
from equinet.models.compilation import compile_potential
from equinet.models.compiled import CompiledNequIPArchitecture

ROUNDS = 7
FORMS = (("torchscript", "library"), ("aoti", "library"), ("torchscript", "torch"), ("aoti", "torch"))


def forms(potential: Potential, folder: Path) -> dict[str, Callable[..., Any]]:
    """Every form of the potential, to be called with a graph."""
    found: dict[str, Callable[..., Any]] = {"native": potential}
    for kind, operators in FORMS:
        path = folder / f"{kind}-{operators}{'.pt2' if kind == 'aoti' else '.pt'}"
        start = perf_counter()
        export_model(potential, kind, path, operators)
        print(f"artefacts: {kind}, {operators}: exported in {perf_counter() - start:.0f} s", file=sys.stderr)
        found[f"{kind}, {operators}"] = load_artefact(path)
    return found


def measure(calls: dict[str, Callable[..., Any]], graph: Any, seconds: float) -> dict[str, float]:
    """Median seconds of a call, rounds in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # a script is optimised in its first calls
        for _ in range(3):
            call(graph)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start, count = perf_counter(), 0
            while count == 0 or perf_counter() - start < seconds / ROUNDS:
                call(graph)
                count += 1
            times[name].append((perf_counter() - start) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file that knows the structure's elements")
    parser.add_argument("--structure", choices=list(STRUCTURES), default="Si 512")
    parser.add_argument("--plain", action="store_true", help="of the model as it is, not compiled")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each form (default %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    potential = load_model(arguments.model).requires_grad_(False)
    if not arguments.plain and not isinstance(potential.architecture, CompiledNequIPArchitecture):
        potential = compile_potential(potential).potential
    atoms = rattled(arguments.structure)
    with tempfile.TemporaryDirectory() as folder:
        calls = forms(potential, Path(folder))
        found = measure(calls, graph_from_atoms(atoms, potential.cutoff), arguments.seconds)
    rows = [{"form": name, "seconds": value, "over_native": value / found["native"]} for name, value in found.items()]
    print(markdown_table(rows, {"form": "", "seconds": ".4f", "over_native": ".3f"}))
    print(f"{arguments.structure}, {torch.get_num_threads()} threads, torch {torch.__version__}, {processor_name()}")
    if arguments.json:
        write_rows(arguments.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
