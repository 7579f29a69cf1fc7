"""Where the convolutions whose weights are never all there win: seconds and memory against the plain composition.

    python benchmarks/ops/radial_conv.py --json rows.json

training: ``RadialConv`` against ``UVUConv`` of ``h @ weight``; all three levels, as a loss on forces takes them.
inference: ``TabulatedConv`` against harmonics, a spline and ``UVUConv``; result and forces.
Both sides run in turn, in one process, on the same numbers and threads; medians of the rounds.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ops.configurations import MODELS, TABLE
from benchmarks.ops.measure import timed
from benchmarks.ops.problem import Problem, make_problem
from benchmarks.rows import markdown_table, versions, write_rows
from equinet.bench.side import peak_memory, processor_name
from equinet_kernels import ConvSpec, RadialConv, SphericalHarmonics, TabulatedConv, UVUConv, radial_spline
from equinet_kernels.tolerances import TOLERANCES, relative_error

HIDDEN = 64
INTERVALS = 512
CUTOFF = 5.0
CPU = torch.device("cpu")


def training_sides(spec: ConvSpec, problem: Problem) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Gradients of a loss on "forces" (dy, dh) by all inputs, with and without the weights of all edges."""
    random = torch.Generator().manual_seed(1)
    h = torch.randn(problem.edges, HIDDEN, generator=random)
    weight = torch.randn(HIDDEN, spec.weight_dim, generator=random) * HIDDEN**-0.5
    plain, radial = UVUConv(spec), RadialConv(spec)
    topology = problem.topology

    def gradients(convolution: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        leaves = [tensor.detach().requires_grad_() for tensor in (problem.x, problem.y, h, weight)]
        out = convolution(*leaves)
        forces = torch.autograd.grad(out, leaves[1:3], problem.g, create_graph=True)
        return torch.autograd.grad(sum(force.square().sum() for force in forces), leaves)

    return {
        "plain": lambda: gradients(lambda x, y, h, weight: plain(x, y, h @ weight, topology)),
        "ours": lambda: gradients(lambda x, y, h, weight: radial(x, y, h, weight, topology)),
    }


def inference_sides(spec: ConvSpec, problem: Problem) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Result and gradient by the edge vectors, with and without harmonics and weights of all edges."""
    random = torch.Generator().manual_seed(1)
    lengths = 2.0 + 3.0 * torch.rand(problem.edges, 1, dtype=torch.float64, generator=random)
    vectors = problem.y[:, 1:4].double() * 3**-0.5 * lengths  # the harmonics of degree 1 are the directions
    table = torch.randn(INTERVALS, 6, spec.weight_dim, generator=random)
    table[:, 1:] *= 0.1
    spacing = CUTOFF / INTERVALS
    plain, tabulated, harmonics = UVUConv(spec), TabulatedConv(spec), SphericalHarmonics(spec.l_max)
    topology = problem.topology

    def composed(x: Tensor, vectors: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        y = harmonics(vectors / lengths.unsqueeze(1)).float()
        result: Tensor = plain(x, y, radial_spline(lengths, table, spacing), topology)
        return result

    def gradients(convolution: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        leaves = [problem.x.detach().requires_grad_(), vectors.detach().requires_grad_()]
        out = convolution(*leaves)
        return (out.detach(), *torch.autograd.grad(out, leaves, problem.g))

    return {
        "plain": lambda: gradients(composed),
        "ours": lambda: gradients(lambda x, vectors: tabulated(x, vectors, table, spacing, topology)),
    }


def measure(name: str, spec: ConvSpec, kind: str, edges: int, rounds: int) -> dict[str, Any]:
    """One row.

    Raises:
        SystemExit: the two sides differ.
    """
    problem = make_problem(spec, edges, torch.float32, CPU)
    sides = (training_sides if kind == "training" else inference_sides)(spec, problem)
    results, memory = {}, {}
    for side, call in sides.items():
        call()
        results[side], memory[side] = peak_memory(CPU, call)
    for ours, theirs in zip(results["ours"], results["plain"], strict=True):
        error = relative_error(ours, theirs)
        if not error <= 2 * TOLERANCES[torch.float32]:  # both are rounded
            sys.exit(f"{name}, {kind}: the two sides differ by {error:.1e}")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, call in sides.items():
            seconds[side].append(timed(CPU, call)[1])
    ours_s, plain_s = (statistics.median(seconds[side]) for side in ("ours", "plain"))
    return {
        "name": name, "kind": kind, "edges": problem.edges, "ours_s": ours_s, "plain_s": plain_s,
        "ratio": plain_s / ours_s, "ours_mb": memory["ours"], "plain_mb": memory["plain"],
        "memory_ratio": memory["plain"] / memory["ours"], "threads": torch.get_num_threads(), "cpu": processor_name(),
        "versions": versions("equinet-mlip", "torch"),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--edges", nargs="+", type=int, default=[6000, 60000], help="about so many; 1792 at least")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=["SevenNet-0", "NequIP-64"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    rows = [
        measure(configuration.name, configuration.spec, kind, edges, arguments.rounds)
        for configuration in MODELS + TABLE
        if configuration.name in arguments.only
        for kind in ("training", "inference")
        for edges in arguments.edges
    ]
    if arguments.json is not None:
        write_rows(arguments.json, rows)
    columns = {"name": "", "kind": "", "edges": "d", "ours_s": ".4f", "plain_s": ".4f", "ratio": ".2f"}
    print(markdown_table(rows, columns | {"ours_mb": ".0f", "plain_mb": ".0f", "memory_ratio": ".1f"}))
    print(f"\n{rows[0]['cpu']}, {rows[0]['threads']} threads, {rows[0]['versions']}")


if __name__ == "__main__":
    main()
