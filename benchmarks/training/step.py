"""Seconds and memory of one NequIP training step, against nequip's, which is the same network in e3nn's operators.

    python benchmarks/training/step.py --json rows.json
    python benchmarks/training/step.py --only nequip --steps 3

A step is energy, forces and stress of 216 silicon atoms, the loss of all three, its gradient by all weights, and Adam.
Each side runs in processes of its own, the peer's in an environment that the first call makes (a minute or two, 1 GB
under ~/.cache/equinet). The processes take turns, so that a slow phase of the machine hits both; times are medians.
Memory is the peak of the resident set over all steps above what the process held before the first.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import NEQUIP, PeerError, peer_python
from benchmarks.rows import markdown_table, write_rows
from benchmarks.training.case import CHANNELS
from benchmarks.training.steps import Report
from equinet.bench.side import processor_name

ROOT = Path(__file__).resolve().parents[2]
SPEED_TARGET = 8.0  # times faster
MEMORY_TARGET = 4.0  # times less
WARMUP = 2
ROUNDS = 3  # processes of each side
TYPE_FEATURES = {
    # what nequip makes of the channels: an embedding of types as wide as they are, and self-connections with a matrix
    # for each number in it
    "nequip": CHANNELS,
    # about as many weights as ours; its first layer then reads one channel
    "nequip, as many weights": 1,
}
"""The rows, by the width of nequip's embedding of types."""
COLUMNS = {
    "name": "",
    "edges": "d",
    "ours_s": ".3f",
    "peer_s": ".3f",
    "ratio": ".1f",
    "ours_mb": ".0f",
    "peer_mb": ".0f",
    "ours_weights": "d",
    "peer_weights": "d",
}


def run_side(python: Path, module: str, arguments: list[str]) -> Report:
    """Run a side in a process of its own.

    Raises:
        PeerError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = "1000"  # as equinet's command line has it, so for both
    command = [str(python), "-m", f"benchmarks.training.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = done.stderr.splitlines()[-15:]
        raise PeerError("\n".join([*tail, f"'{' '.join(command)}' failed (status {done.returncode})"]))
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def compare(name: str, steps: int, threads: int) -> dict[str, Any]:
    """Run both sides in turn; return the row.

    Raises:
        PeerError: a process failed, or the two did not train on the same.
    """
    shared = [f"--steps={steps}", f"--warmup={WARMUP}", f"--threads={threads}"]
    own = f"--type-features={TYPE_FEATURES[name]}"
    python = peer_python(NEQUIP)
    reports: dict[str, list[Report]] = {"peer": [], "ours": []}
    for _ in range(ROUNDS):
        for side, run in (
            ("peer", lambda: run_side(python, "nequip_side", [*shared, own])),
            ("ours", lambda: run_side(Path(sys.executable), "ours", shared)),
        ):
            report = run()
            reports[side].append(report)
            print(f"step: {name}: {side}: {described(report)}", file=sys.stderr)
    first, second = reports["peer"][0], reports["ours"][0]
    if (first.digest, first.edges) != (second.digest, second.edges):
        raise PeerError(
            f"the two did not train on the same: {first.edges} edges of {first.digest} in {NEQUIP.name}, "
            f"{second.edges} edges of {second.digest} in ours"
        )
    return row(name, reports["ours"], reports["peer"], threads)


def described(report: Report) -> str:
    """One line on what a process measured."""
    times = report.steps
    return (
        f"{statistics.median(times):.3f} s a step ({min(times):.3f}..{max(times):.3f}), {report.memory:.0f} MiB, "
        f"{report.edges} edges, {report.weights} weights, loss {report.losses[0]:.4f} to {report.losses[-1]:.4f}"
    )


def row(name: str, ours: list[Report], peer: list[Report], threads: int) -> dict[str, Any]:
    """Medians of all steps of all rounds."""

    def median(reports: list[Report], part: str) -> float:
        return statistics.median(second for report in reports for second in getattr(report, part))

    ours_s, peer_s = median(ours, "steps"), median(peer, "steps")
    return {
        "name": name,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "ours_mb": statistics.median(report.memory for report in ours),
        "peer_mb": statistics.median(report.memory for report in peer),
        **{f"ours_{part}_s": median(ours, part) for part in ("forward", "backward", "optimizer")},
        **{f"peer_{part}_s": median(peer, part) for part in ("forward", "backward", "optimizer")},
        "versions": ours[0].versions,
        "peer_versions": peer[0].versions,
        "implementation": ours[0].implementation,
        "peer_implementation": peer[0].implementation,
        "threads": threads,
        "edges": ours[0].edges,
        "ours_weights": ours[0].weights,
        "peer_weights": peer[0].weights,
        "cpu": processor_name(),
    }


def verdict(measured: dict[str, Any], gain: str, value: float, target: float) -> str:
    """Say whether a row reaches a target."""
    reached = "reached" if value >= target else "missed"
    return f"{measured['name']}: {value:.1f} times {gain}, wanted {target:g}: {reached}"


def main() -> int:
    """Measure the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--steps", type=int, default=5, help="timed in each process (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on both sides (default %(default)s)")
    parser.add_argument("--only", choices=list(TYPE_FEATURES), help="one row alone")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.threads) < 1:
        parser.error("--steps and --threads must be at least 1")
    wanted = [name for name in TYPE_FEATURES if arguments.only in (None, name)]
    try:
        rows = [compare(name, arguments.steps, arguments.threads) for name in wanted]
    except PeerError as error:
        print(f"step: error: {error}", file=sys.stderr)
        return 1
    print(markdown_table(rows, COLUMNS))
    for side, prefix in (("ours", ""), ("peer", "peer_")):
        print(f"{side}: {rows[0][prefix + 'implementation']}; {rows[0][prefix + 'versions']}")
    print(f"{rows[0]['threads']} threads, {rows[0]['cpu']}")
    for measured in rows:
        print(verdict(measured, "faster", measured["ratio"], SPEED_TARGET))
        print(verdict(measured, "less memory", measured["peer_mb"] / measured["ours_mb"], MEMORY_TARGET))
    if arguments.json:
        write_rows(arguments.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
