"""What each option of the training step gains and costs, against the plain step in the same run.

    python benchmarks/training/options.py
    python benchmarks/training/options.py --repeats 3 --only plain recompute_weights

A step is energy, forces and stress of rattled silicon, the loss of all three, its gradient by all weights, and Adam;
the network is that of ``step.py``. Each option runs in a process of its own, and they take turns; times are medians.
Memory is the peak of the resident set over all steps above what the process held before the first. The error is that of
the forces against the plain step's, in parts of their rms.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import markdown_table, write_rows
from benchmarks.training import case
from equinet.bench.side import peak_memory, processor_name

ROOT = Path(__file__).resolve().parents[2]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "recompute_weights": {"recompute_weights": True},
    "linear_maps bfloat16": {"linear_maps": "bfloat16", "ema_decay": 0.99},
    "compile": {"compile": True},
}
COLUMNS = {
    "option": "",
    "atoms": "d",
    "edges": "d",
    "seconds": ".4f",
    "times_faster": ".2f",
    "mb": ".0f",
    "times_less_memory": ".2f",
    "force_error": ".1e",
    "first_step_seconds": ".0f",
}


def measure(name: str, repeats: int, steps: int) -> dict[str, float]:
    """Take steps with one option, in this process."""
    from benchmarks.training.ours import build
    from equinet.training.optimization import OptimizerSettings, build_optimizer

    frame = case.silicon(repeats)
    plain, batch = build(frame)
    module, _ = build(frame, **OPTIONS[name])  # the same seed, so the same weights
    start = time.perf_counter()
    found = module.predict_for_training(batch.graph).forces.detach()
    first = time.perf_counter() - start
    exact = plain.predict_for_training(batch.graph).forces.detach()
    weights = [weight for weight in module.potential.parameters() if weight.requires_grad]
    optimizer = build_optimizer(weights, OptimizerSettings(lr=case.LEARNING_RATE))
    seconds: list[float] = []

    def run() -> None:
        for _ in range(steps + 1):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            module.terms(batch, module.loss.settings.final_weights).sum().backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)

    _, memory = peak_memory(torch.device("cpu"), run)
    return {
        "atoms": len(batch.graph.numbers),
        "edges": len(batch.graph.senders),
        "seconds": statistics.median(seconds[1:]),
        "first_step_seconds": first + seconds[0],
        "mb": memory,
        "force_error": float((found - exact).norm() / exact.norm()),
    }


def in_a_process(name: str, repeats: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure an option where nothing else has run."""
    command = [sys.executable, __file__, "--side", name, "--repeats", str(repeats), "--steps", str(arguments.steps)]
    environment = {"GOMP_SPINCOUNT": "1000"} | os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 3], help="of the cell of 8 atoms, each way")
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each option")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=OPTIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        sys.stdout.write(json.dumps(measure(arguments.side, arguments.repeats[0], arguments.steps)) + "\n")
        return
    names = ["plain", *(name for name in arguments.only if name != "plain")]
    rows: list[dict[str, Any]] = []
    for repeats in arguments.repeats:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name in names:
                found[name].append(in_a_process(name, repeats, arguments))
        medians = {
            name: {key: statistics.median(report[key] for report in reports) for key in reports[0]}
            for name, reports in found.items()
        }
        for name in names:
            row: dict[str, Any] = {"option": name} | medians[name]
            row |= {key: int(row[key]) for key in ("atoms", "edges")}
            row["times_faster"] = medians["plain"]["seconds"] / row["seconds"]
            row["times_less_memory"] = medians["plain"]["mb"] / row["mb"]
            rows.append(row)
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(markdown_table(rows, COLUMNS))
    if arguments.json:
        write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
