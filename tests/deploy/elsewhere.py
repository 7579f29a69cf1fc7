"""Artefacts in processes where equinet cannot be imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equinet.deploy import Artefact
from equinet.deploy.check import strided
from equinet.deploy.references import QUANTITIES, Reference
from tests.deploy.conftest import clean_environment

HERE = Path(__file__).parent


def calls_of(artefact: Artefact) -> list[list[Tensor]]:
    """Every reference, dense and strided."""
    graphs = [reference.graph(artefact.header.cutoff) for reference in artefact.references]
    return [list(graph) for dense in graphs for graph in (dense, strided(dense))]


def run_alone(model: Path, calls: list[list[Tensor]], folder: Path, *library: Path) -> list:
    """What a process without equinet makes of the calls."""
    torch.save(calls, folder / "calls.pt")
    arguments = [str(path) for path in (model, folder / "calls.pt", folder / "results.pt", *library)]
    command = [sys.executable, "-I", str(HERE / "alone.py"), *arguments]
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return torch.load(folder / "results.pt")


def compare(found: list[Any], references: list[Reference], tolerance: float) -> None:
    """Every quantity of every structure, relative to its largest value."""
    for results, reference in zip(found, references, strict=True):
        assert isinstance(results, dict), results
        for quantity in QUANTITIES:
            wanted = torch.tensor(reference.expected[quantity], dtype=torch.float64)
            atol = tolerance * max(1.0, float(wanted.nan_to_num().abs().max()))
            torch.testing.assert_close(results[quantity], wanted, rtol=0.0, atol=atol, equal_nan=True)
