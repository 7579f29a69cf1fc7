"""Seconds and memory of a step of dynamics with SevenNet's potentials, against sevenn, which made them.

    python benchmarks/inference/step.py --json rows.json
    python benchmarks/inference/step.py --only 7net-0 --structure "Si 512"

Ours is the potential imported from sevenn's own environment and compiled (``equinet import``, ``equinet compile``).
Both sides run as ``equinet bench`` runs them, in processes of their own that take turns; numbers are medians of rounds.
A row whose results differ is not shown, and the exit status is then 1.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.inference.case import STRUCTURES, rattled
from benchmarks.peers import SEVENN, PeerError, peer_python
from benchmarks.rows import markdown_table, write_rows
from equinet.bench.comparison import Cost, Side, difference, measure_side
from equinet.bench.side import processor_name
from equinet.errors import InputError
from equinet.interop.sevennet import SHIPPED, import_sevennet
from equinet.models import save_model
from equinet.models.compilation import compile_potential

MODELS = ("7net-0", "7net-l3i5")
SPEED_TARGET = 10.0  # times faster
MEMORY_TARGET = 4.0  # times less
ROUNDS = 3  # processes of each side
TIMESTEP = 1.0  # fs
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


def compare(model: str, path: Path, structure: str, seconds: float) -> dict[str, Any]:
    """Run both sides in turn; return the row.

    Raises:
        PeerError: the results differ.
        InputError: a process failed.
    """
    sides = {"peer": Side("sevennet", model, str(peer_python(SEVENN))), "ours": Side("equinet", str(path))}
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            cost = measure_side(side, rattled(structure), seconds, TIMESTEP)
            costs[name].append(cost)
            words = f"{cost.step:.4f} s ({cost.steps} steps), {cost.memory:.0f} MiB"
            print(f"step: {model}, {structure}: {name}: {words}", file=sys.stderr)
    peer, ours = costs["peer"][0], costs["ours"][0]
    gaps = difference(ours, peer)
    for name, limit in TOLERANCES.items():
        if not getattr(gaps, name) <= limit:
            raise PeerError(f"{model}, {structure}: {name} differs by {getattr(gaps, name):.1e}, allowed {limit:.0e}")
    ours_s, peer_s = (statistics.median(cost.step for cost in costs[name]) for name in ("ours", "peer"))
    ours_mb, peer_mb = (statistics.median(cost.memory for cost in costs[name]) for name in ("ours", "peer"))
    return {
        "name": f"{model}, {structure}",
        "atoms": ours.atoms,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "ours_mb": ours_mb,
        "peer_mb": peer_mb,
        "less_memory": peer_mb / ours_mb,
        "difference": f"{gaps.energy:.0e} {gaps.forces:.0e} {gaps.stress:.0e}",
        "versions": ours.version,
        "peer_versions": peer.version,
        "threads": ours.threads,
        "cpu": processor_name(),
    }


def main() -> int:
    """Measure the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side and round; 3 steps at least")
    parser.add_argument("--only", choices=MODELS, help="one potential alone")
    parser.add_argument("--structure", choices=list(STRUCTURES), help="one structure alone")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS if arguments.only is None else (arguments.only,):
            path = compiled(model, peer_python(SEVENN), Path(folder))
            for structure in STRUCTURES if arguments.structure is None else (arguments.structure,):
                try:
                    rows.append(compare(model, path, structure, arguments.seconds))
                except (PeerError, InputError) as error:
                    refused += 1
                    print(f"step: not shown: {error}", file=sys.stderr)
                if arguments.json:
                    write_rows(arguments.json, rows)
    print(markdown_table(rows, COLUMNS))
    for row in rows[:1]:
        print(f"ours: {row['versions']}\npeer: {row['peer_versions']}\n{row['threads']} threads, {row['cpu']}")
    for row in rows:
        missed = [
            words
            for words, value, target in (
                ("faster", row["ratio"], SPEED_TARGET),
                ("less memory", row["less_memory"], MEMORY_TARGET),
            )
            if value < target
        ]
        if missed:
            print(f"{row['name']}: below the target: {', '.join(missed)}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
