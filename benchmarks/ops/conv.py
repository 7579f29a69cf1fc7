"""Time of the equivariant convolution against e3nn's, and against what the machine's memory allows.

    python benchmarks/ops/conv.py --json rows.json
    python benchmarks/ops/conv.py --only SevenNet-0 --edges 6000 --level forward --dtype float32

Each row is one convolution, precision, size and level. Ours and e3nn's run in turn, in one process, on the same numbers
and threads, after a warm-up; times are medians. A row whose results differ by more than
``equinet_kernels/tolerances.py`` allows is not shown, and the exit status is then 1.
"""

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import e3nn
import torch

from benchmarks.ops.configurations import MODELS, TABLE, Configuration
from benchmarks.ops.contenders import RESULTS, E3nn, Ours, e3nn_mode
from benchmarks.ops.counting import cost
from benchmarks.ops.measure import copy_bandwidth, free_memory
from benchmarks.ops.problem import Problem, make_problem
from benchmarks.rows import markdown_table, versions, write_rows
from equinet.bench.side import peak_memory, processor_name
from equinet_kernels.tolerances import TOLERANCES, relative_error

DTYPES = {"float32": torch.float32, "float64": torch.float64}
RATIO_TARGETS = {"forward": 40.0, "backward": 25.0, "double_backward": 20.0}
"""Times faster than e3nn on a CPU in float32; three quarters of it in float64."""
BANDWIDTH_TARGETS = {"forward": 0.6, "backward": 0.5, "double_backward": 0.5}
"""Fraction of the copy bandwidth on a GPU."""
PROBE_EDGES = 1792
MIN_ROUNDS = 3
MAX_ROUNDS = 100


class RowRefusedError(Exception):
    """A row that would not be true, or cannot be measured here."""


@dataclass(frozen=True)
class Settings:
    """What all rows of one call share."""

    device: torch.device
    bandwidth: float  # bytes a second
    e3nn_memory: float  # MiB that e3nn may take before its edges are cut into chunks
    seconds: float  # spent on the rounds of one row, at least
    fixed: dict[str, Any]  # fields that are the same in every row


def compare(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...], level: str, dtype: torch.dtype) -> None:
    """Compare the results of a level.

    Raises:
        RowRefusedError: they differ.
    """
    for name, a, b in zip(RESULTS[level], ours, theirs, strict=True):
        error = relative_error(a, b)
        if not error <= TOLERANCES[dtype]:  # NaN differs, too
            raise RowRefusedError(f"{name} differs from e3nn's by {error:.1e}, allowed {TOLERANCES[dtype]:.0e}")


def measure_row(
    configuration: Configuration,
    ours: Ours,
    theirs: E3nn,
    problem: Problem,
    probe: Problem,
    level: str,
    settings: Settings,
) -> dict[str, Any]:
    """Measure one level on one problem.

    The probe is small: it warms both up and says what memory an edge takes, so that e3nn can be given chunks that fit.

    Raises:
        RowRefusedError: the results differ, or ours would not fit into memory.
    """
    device, dtype = settings.device, problem.x.dtype
    ours.run(probe, level)
    theirs.run(probe, level, 1)
    growth = problem.edges / probe.edges
    needed = peak_memory(device, lambda: ours.run(probe, level))[1] * growth
    usable = 0.8 * free_memory(device)
    if needed > usable:
        raise RowRefusedError(f"ours needs about {needed / 1024:.0f} GiB, and {usable / 1024:.0f} may be used")
    needed = peak_memory(device, lambda: theirs.run(probe, level, 1))[1] * growth
    chunks = max(1, math.ceil(needed / min(settings.e3nn_memory, usable)))

    our_run, our_memory = peak_memory(device, lambda: ours.run(problem, level))
    their_run, their_memory = peak_memory(device, lambda: theirs.run(problem, level, chunks))
    compare(our_run.results, their_run.results, level, dtype)
    del our_run, their_run

    our_seconds: list[float] = []
    their_seconds: list[float] = []
    begin = time.monotonic()
    while len(our_seconds) < MIN_ROUNDS or (
        len(our_seconds) < MAX_ROUNDS and time.monotonic() - begin < settings.seconds
    ):
        our_seconds.append(ours.run(problem, level).seconds)
        their_seconds.append(theirs.run(problem, level, chunks).seconds)
    ours_s, e3nn_s = statistics.median(our_seconds), statistics.median(their_seconds)
    count = cost(configuration.spec, level, problem.nodes, problem.edges, problem.x.element_size())
    return {
        "name": configuration.name,
        "level": level,
        "device": settings.fixed["device"],
        "dtype": str(dtype).removeprefix("torch."),
        "edges": problem.edges,
        "ours_s": ours_s,
        "e3nn_s": e3nn_s,
        "ratio": e3nn_s / ours_s,
        "bytes": count.bytes,
        "flops": count.flops,
        "bandwidth_fraction": count.bytes / ours_s / settings.bandwidth,
        "versions": settings.fixed["versions"],
        "ours_mb": our_memory,
        "e3nn_mb": their_memory,
        "e3nn_chunks": chunks,
        "threads": settings.fixed["threads"],
        "implementation": ours.implementation,
        "cpu": settings.fixed["cpu"],
    }


def target(row: dict[str, Any]) -> str:
    """What the row is held to, and whether it is reached."""
    if row["device"] == "cpu":
        aim = RATIO_TARGETS[row["level"]] * (1.0 if row["dtype"] == "float32" else 0.75)
        return f"{aim:g}x {'reached' if row['ratio'] >= aim else 'not reached'}"
    aim = BANDWIDTH_TARGETS[row["level"]]
    return f"{aim:g} of bandwidth {'reached' if row['bandwidth_fraction'] >= aim else 'not reached'}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for the screen; memory in MiB, e3nn's with the chunks that it was measured in."""
    shown = [
        {
            **row,
            "ours us/edge": row["ours_s"] / row["edges"] * 1e6,
            "e3nn us/edge": row["e3nn_s"] / row["edges"] * 1e6,
            "of bandwidth": row["bandwidth_fraction"],
            "ours MB": row["ours_mb"],
            "e3nn MB": f"{row['e3nn_mb']:.0f}" + (f" in {row['e3nn_chunks']}" if row["e3nn_chunks"] > 1 else ""),
            "target": target(row),
        }
        for row in rows
    ]
    columns = {"name": "", "level": "", "dtype": "", "edges": "d", "ours us/edge": ".3f", "e3nn us/edge": ".1f"}
    columns |= {"ratio": ".1f", "of bandwidth": ".2f", "ours MB": ".0f", "e3nn MB": "", "target": ""}
    return markdown_table(shown, columns)


def measure(arguments: argparse.Namespace, settings: Settings) -> Iterator[dict[str, Any] | None]:
    """Measure what was asked for, row by row; None stands for a row that was refused."""
    for configuration in chosen(arguments):
        for dtype in (DTYPES[name] for name in arguments.dtype):
            ours = Ours(configuration, dtype, settings.device)
            theirs = E3nn(configuration, dtype, settings.device)
            print(f"{configuration.name}: {configuration.about}; {ours.implementation}, {ours.reason}", file=sys.stderr)
            probe = make_problem(configuration.spec, PROBE_EDGES, dtype, settings.device)
            for edges in arguments.edges:
                problem = make_problem(configuration.spec, edges, dtype, settings.device)
                for level in arguments.level:
                    try:
                        row = measure_row(configuration, ours, theirs, problem, probe, level, settings)
                    except RowRefusedError as error:
                        what = f"{configuration.name}, {level}, {dtype}, {problem.edges} edges".replace("torch.", "")
                        print(f"no row for {what}: {error}", file=sys.stderr)
                        yield None
                    else:
                        yield row
                del problem  # before the next one is made: both would not always fit


def chosen(arguments: argparse.Namespace) -> list[Configuration]:
    """The configurations asked for."""
    if arguments.only:
        return [one for one in MODELS + TABLE if one.name in arguments.only]
    return list(MODELS + TABLE if arguments.all else MODELS)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here, after each of them")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", nargs="+", choices=tuple(DTYPES), default=list(DTYPES))
    parser.add_argument("--edges", nargs="+", type=int, default=[6000, 60000], help="about so many; 1792 at least")
    parser.add_argument("--level", nargs="+", choices=tuple(RESULTS), default=list(RESULTS))
    parser.add_argument("--only", nargs="+", choices=[one.name for one in MODELS + TABLE], metavar="NAME")
    parser.add_argument("--all", action="store_true", help="the configurations A..I, too")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="for the rounds of each row; at least 3 rounds")
    parser.add_argument(
        "--e3nn-memory", type=float, metavar="GIB", help="e3nn's before it runs in chunks; 8, or 60%% of a GPU"
    )
    parser.add_argument("--e3nn-mode", choices=("eager", "script"), help="how e3nn runs its code; its own default")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write; return the exit status."""
    arguments = parse_arguments()
    # scripting e3nn's products is an option here, and torch's notice of its deprecation is known
    warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
    device = torch.device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.e3nn_mode is not None:
        e3nn.set_optimization_defaults(jit_mode=arguments.e3nn_mode)
    on_gpu = device.type == "cuda"
    default_memory = 0.6 * free_memory(device) if on_gpu else 8 * 1024
    fixed = {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "versions": f"{versions('equinet-mlip', 'torch', 'e3nn')}, e3nn code {e3nn_mode()}",
        "threads": torch.get_num_threads(),
        "cpu": processor_name(),
    }
    settings = Settings(
        device=device,
        bandwidth=copy_bandwidth(device),
        e3nn_memory=default_memory if arguments.e3nn_memory is None else arguments.e3nn_memory * 1024,
        seconds=arguments.seconds,
        fixed=fixed,
    )
    load = os.getloadavg()[0]  # other work slows e3nn's many small steps more than one fused loop
    rows: list[dict[str, Any]] = []
    refused = 0
    for row in measure(arguments, settings):
        if row is None:
            refused += 1
            continue
        rows.append(row)
        print(table(rows).splitlines()[-1], file=sys.stderr, flush=True)
        if arguments.json is not None:
            write_rows(arguments.json, rows)
    print(f"device {fixed['device']}, processor {fixed['cpu']}, {fixed['threads']} threads, {fixed['versions']}")
    print(f"load of the machine before the run {load:.1f}; idle is what makes a ratio worth keeping")
    print(f"copy bandwidth {settings.bandwidth / 1e9:.1f} GB/s, read and written; implementation", end=" ")
    print(", ".join(sorted({row["implementation"] for row in rows})) or "none", end="\n\n")
    print(table(rows))
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
