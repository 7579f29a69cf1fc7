"""The steps themselves, timed, and the memory they take: the same lines for both sides. It needs torch alone."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import torch
from torch import Tensor

from benchmarks.rows import versions
from equinet.bench.side import peak_memory


@dataclass(frozen=True)
class Report:
    """What one process measured; printed as JSON."""

    digest: str  # of what it trained on
    edges: int
    weights: int  # that are trained
    versions: str
    implementation: str  # of the operators
    losses: list[float]  # of all steps, those that warm up among them
    forward: list[float]  # seconds of each timed step: energy, forces, stress and their loss
    backward: list[float]  # gradient of the loss by all weights
    optimizer: list[float]
    memory: float  # MiB, peak of all steps above what the process held before the first

    @property
    def steps(self) -> list[float]:
        """Seconds of each timed step."""
        return [sum(parts) for parts in zip(self.forward, self.backward, self.optimizer, strict=True)]


@dataclass(frozen=True)
class Side:
    """A framework, ready for its first step."""

    weights: list[torch.nn.Parameter]
    loss: Callable[[], Tensor]
    edges: int
    digest: str
    packages: tuple[str, ...]  # whose versions are reported
    implementation: str  # of the operators


def parser() -> argparse.ArgumentParser:
    """Arguments that both sides take."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--steps", type=int, required=True)
    arguments.add_argument("--warmup", type=int, required=True)
    arguments.add_argument("--threads", type=int, required=True)
    return arguments


def measure(side: Side, optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> Report:
    """Take steps, and time those after the warm-up."""
    losses: list[float] = []
    parts: list[tuple[float, float, float]] = []

    def run() -> None:
        for _ in range(warmup + steps):
            marks = [perf_counter()]
            optimizer.zero_grad(set_to_none=True)
            loss = side.loss()
            marks.append(perf_counter())
            loss.backward()
            marks.append(perf_counter())
            optimizer.step()
            marks.append(perf_counter())
            losses.append(float(loss.detach()))
            parts.append((marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]))

    _, memory = peak_memory(torch.device("cpu"), run)
    forward, backward, last = (list(column) for column in zip(*parts[warmup:], strict=True))
    return Report(
        digest=side.digest,
        edges=side.edges,
        weights=sum(weight.numel() for weight in side.weights),
        versions=versions("torch", *side.packages),
        implementation=side.implementation,
        losses=losses,
        forward=forward,
        backward=backward,
        optimizer=last,
        memory=memory,
    )


def answer(report: Report) -> None:
    """Print the report for the process that waits for it, as the last line."""
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
