"""What a committee costs: its members one after the other and all at once, in times of one member's prediction.

    python benchmarks/uncertainty/committee.py                          (four of three layers, l = 2, drawn weights)
    python benchmarks/uncertainty/committee.py member-*/model.safetensors --device cuda --json rows.json

Energies, forces, virials and the first member's features, of rattled silicon carbide (or of the structures given). Both
ways take turns in this process; times are medians. The operators that run, views left out, are what a GPU launches; on
a small structure it waits for little else.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.rows import markdown_table, versions, write_rows
from equinet.bench.side import processor_name
from equinet.graph import build_graph, move
from equinet.models import NequIPArchitecture, Potential, load_model
from equinet.uncertainty import Committee, committee

CELLS = ((1, 1, 1), (3, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))  # of 8 atoms
COLUMNS = {
    "atoms": "d",
    "edges": "d",
    "one_ms": ".1f",
    "one_by_one": ".2f",
    "at_once": ".2f",
    "committee": ".2f",
    "operators_one": "d",
    "operators_one_by_one": "d",
    "operators_at_once": "d",
}
VIEWS = {"view", "_unsafe_view", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "select", "slice",
         "split", "split_with_sizes", "unbind", "detach", "alias", "as_strided"}  # fmt: skip


class Operators(TorchDispatchMode):
    """Counts the operators that run within it, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run and count."""
        self.count += function._schema.name.split("::")[1] not in VIEWS
        return function(*args, **(kwargs or {}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--members", type=int, default=4, help="where no models are given")
    parser.add_argument("--structures", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    members = [load_model(path, arguments.device).requires_grad_(False) for path in arguments.models]
    members = members or [_drawn(seed).to(arguments.device) for seed in range(arguments.members)]
    structures = ase.io.read(arguments.structures, ":") if arguments.structures else [_carbide(cell) for cell in CELLS]
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{processor_name()}, one thread"
    print(f"{len(members)} members, {where}, {versions('torch')}")
    rows = [_row(Committee(members), atoms, arguments.rounds) for atoms in structures]
    print(markdown_table(rows, COLUMNS))
    if arguments.json:
        write_rows(arguments.json, [row | {"members": len(members), "where": where} for row in rows])


def _row(source: Committee, atoms: Atoms, rounds: int) -> dict[str, Any]:
    first = source.members[0]
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, first.cutoff)
    graph = move(graph, first.scale.device)

    def limited(edges: float) -> Callable[[], object]:
        def call() -> object:
            with mock.patch.multiple(committee, CPU_EDGES=edges, MAX_EDGES=edges):
                return source(graph)

        return call

    calls = {
        "one": lambda: first(graph),
        "one_by_one": limited(-1),
        "at_once": limited(float("inf")),
        "committee": lambda: source(graph),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            _wait(graph.positions.device)
            start = time.perf_counter()
            call()
            _wait(graph.positions.device)
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    row: dict[str, Any] = {"atoms": len(atoms), "edges": len(graph.senders), "one_ms": 1000 * median["one"]}
    row |= {name: median[name] / median["one"] for name in ("one_by_one", "at_once", "committee")}
    for name in ("one", "one_by_one", "at_once"):
        with Operators() as operators:
            calls[name]()
        row[f"operators_{name}"] = operators.count
    return row


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _drawn(seed: int) -> Potential:
    torch.manual_seed(seed)
    architecture = NequIPArchitecture(mean_neighbors=45.0, parity="natural")
    potential = Potential(architecture, species=[6, 14], isolated_energies=[0.0, 0.0], scale=1.0)
    return potential.eval().requires_grad_(False)


def _carbide(cells: tuple[int, int, int]) -> Atoms:
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True) * cells
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    return atoms


if __name__ == "__main__":
    main()
