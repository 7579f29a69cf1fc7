"""The convolutions that are compared, and the three levels at which each of them is timed."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import e3nn
import torch
from torch import Tensor

from benchmarks.ops.configurations import Configuration
from benchmarks.ops.measure import timed
from benchmarks.ops.problem import Problem
from equinet.nn.e3nn_boundary import from_e3nn, to_e3nn
from equinet_kernels import ConvSpec, UVUConv, explain
from tests.kernels.e3nn_oracle import tensor_product

RESULTS = {
    "forward": ("out",),
    "backward": ("d/dx", "d/dy", "d/dw"),
    "double_backward": ("d2/dx", "d2/dy", "d2/dw", "d2/dg"),
}
"""The levels, and what each of them computes."""


class Run(NamedTuple):
    """What a level gave, in the order of :data:`RESULTS`, and the seconds it took."""

    results: tuple[Tensor, ...]
    seconds: float


def run_level(convolution: Callable[[Tensor, Tensor, Tensor], Tensor], problem: Problem, level: str) -> Run:
    """Prepare a level untimed, then time the one call that is the level.

    forward: the convolution, without a graph. backward: the gradient by x, y and w, given g, of a graph that is there.
    double_backward: the gradient of that by x, y, w and g, given the cotangents of dx, dy and dw.
    """
    device = problem.x.device
    if level == "forward":
        with torch.no_grad():
            return Run(*timed(device, lambda: (convolution(problem.x, problem.y, problem.w),)))
    x, y, w, g = (tensor.detach().requires_grad_() for tensor in (problem.x, problem.y, problem.w, problem.g))
    out = convolution(x, y, w)
    if level == "backward":
        return Run(*timed(device, lambda: torch.autograd.grad(out, (x, y, w), problem.g)))
    first = torch.autograd.grad(out, (x, y, w), g, create_graph=True)
    cotangents = (problem.x_cotangent, problem.y_cotangent, problem.w_cotangent)
    return Run(*timed(device, lambda: torch.autograd.grad(first, (x, y, w, g), cotangents)))


class Ours:
    """``equinet_kernels.UVUConv``, whichever implementation it chooses."""

    def __init__(self, configuration: Configuration, dtype: torch.dtype, device: torch.device) -> None:
        self.convolution = UVUConv(configuration.spec, dtype).to(device)
        choice = explain(self.convolution)[0]
        self.implementation, self.reason = choice.implementation, choice.reason

    def run(self, problem: Problem, level: str) -> Run:
        """Run one level."""
        return run_level(lambda x, y, w: self.convolution(x, y, w, problem.topology), problem, level)


class E3nn:
    """``e3nn.o3.TensorProduct`` between a gather of x by sender and ``index_add_`` into receivers.

    Rows of nodes are in e3nn's own order of values, converted outside the timing. Where the edges are too many for
    memory, equal chunks of them run one after the other and their seconds are added; a chunk holds whole receivers, so
    that no row of the result is summed twice.
    """

    def __init__(self, configuration: Configuration, dtype: torch.dtype, device: torch.device) -> None:
        self.spec = configuration.spec
        # a copy: the test's own product stays in float64
        self.product = copy.deepcopy(tensor_product(self.spec, configuration.y_parity)).to(device, dtype)
        self.ours_from_theirs = e3nn_columns(self.spec).to(device)
        self.theirs_from_ours = self.ours_from_theirs.argsort()

    def run(self, problem: Problem, level: str, chunks: int) -> Run:
        """Run one level in so many chunks; results in our layout."""
        theirs = problem._replace(
            x=to_e3nn(problem.x, self.spec.x),
            g=problem.g[:, self.theirs_from_ours],
            x_cotangent=to_e3nn(problem.x_cotangent, self.spec.x),
        )
        runs = [self._run_chunk(theirs, level, *bounds) for bounds in chunk_bounds(problem.topology.row_ptr, chunks)]
        results = []
        for name, parts in zip(RESULTS[level], zip(*(run.results for run in runs), strict=True), strict=True):
            if name in ("d/dx", "d2/dx"):  # a sender's edges lie in many chunks
                results.append(from_e3nn(sum_of(parts), self.spec.x))
            else:
                whole = torch.cat(parts) if len(parts) > 1 else parts[0]
                results.append(whole[:, self.ours_from_theirs] if name in ("out", "d2/dg") else whole)
        return Run(tuple(results), sum(run.seconds for run in runs))

    def _run_chunk(self, problem: Problem, level: str, first: int, last: int) -> Run:
        """Run one level on the edges of receivers first..last - 1."""
        edges = slice(int(problem.topology.row_ptr[first]), int(problem.topology.row_ptr[last]))
        senders, receivers = problem.topology.senders[edges], problem.topology.receivers[edges] - first
        part = problem._replace(
            y=problem.y[edges],
            w=problem.w[edges],
            g=problem.g[first:last],
            y_cotangent=problem.y_cotangent[edges],
            w_cotangent=problem.w_cotangent[edges],
        )

        def convolution(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
            messages = self.product(x.index_select(0, senders), y, w)
            return messages.new_zeros(last - first, messages.shape[1]).index_add_(0, receivers, messages)

        return run_level(convolution, part, level)


def sum_of(parts: tuple[Tensor, ...]) -> Tensor:
    """Sum of tensors of one shape."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def chunk_bounds(row_ptr: Tensor, chunks: int) -> list[tuple[int, int]]:
    """Cut the receivers [N] into ranges (first, last + 1) of about equally many edges each, none of them empty."""
    wanted = torch.linspace(0, int(row_ptr[-1]), chunks + 1, dtype=torch.float64).round().to(row_ptr)
    cuts = sorted({*torch.searchsorted(row_ptr, wanted[1:-1]).tolist(), 0, len(row_ptr) - 1})
    return list(pairwise(cuts))


def e3nn_columns(spec: ConvSpec) -> Tensor:
    """Columns [dim out] of e3nn's result, a block [C, 2 l3 + 1] for each path, in the order of ours."""
    blocks: dict[tuple[int, int], list[Tensor]] = {}
    start = 0
    for path in spec.paths:
        channels, components = spec.x[path.i].channels, 2 * path.l3 + 1
        block = start + torch.arange(channels * components).reshape(channels, components)
        blocks.setdefault((path.l3, path.p3), []).append(block.T)
        start += channels * components
    return torch.cat([torch.cat(blocks[irrep], dim=1).flatten() for irrep in sorted(blocks)])


def e3nn_mode() -> str:
    """How e3nn runs the code that it generates: "eager" (its default with torch >= 2.10), "script" or "inductor"."""
    return str(e3nn.get_optimization_defaults()["jit_mode"])
