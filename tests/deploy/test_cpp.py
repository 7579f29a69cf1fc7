"""The C++ example, built by its CMakeLists.txt, on what Python exported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from equinet import Calculator
from equinet.deploy import export_model
from equinet.simulate.structures import BUILDERS
from tests import compiled
from tests.deploy.conftest import MODELS, clean_environment
from tests.models.conftest import SPECIES

SOURCE = compiled.ROOT / "equinet" / "deploy" / "cpp"


@pytest.fixture(scope="module")
def energy(request: pytest.FixtureRequest) -> Path:
    """The program."""
    if shutil.which("cmake") is None:
        pytest.skip("CMake is not installed (pip install cmake)")
    content = b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir())) + torch.__version__.encode()

    def build(folder: Path) -> None:
        for command in (["cmake", "-S", str(SOURCE), "-B", str(folder)], ["cmake", "--build", str(folder)]):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # CMake asks this Python where torch is
            environment = {**os.environ, "PATH": path}
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stdout + result.stderr

    return compiled.once(request.config, "energy", content, build) / "energy"


def run(energy: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [str(energy), *map(str, arguments)]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("operators", ["torch", "library"])
@pytest.mark.parametrize("kind", ["bulk", "triclinic", "molecule"])
def test_energy_and_forces(kind: str, operators: str, energy: Path, ops_library: Path, tmp_path: Path) -> None:
    potential = MODELS["plain"](torch.float64)
    export_model(potential, "torchscript", tmp_path / "model.pt", operators)
    atoms: Atoms = BUILDERS[kind](SPECIES, 0)
    atoms.write(tmp_path / "structure.extxyz", format="extxyz", columns=["symbols", "positions"])
    library = [ops_library] if operators == "library" else []
    result = run(energy, tmp_path / "model.pt", tmp_path / "structure.extxyz", *library)
    assert (result.returncode, result.stderr) == (0, "")
    first, _, *rows = result.stdout.splitlines()
    read = Atoms(atoms.symbols, np.round(atoms.positions, 8), cell=atoms.cell, pbc=atoms.pbc)  # as the file has them
    read.calc = Calculator(potential)
    assert float(first.removeprefix("energy (eV): ")) == pytest.approx(read.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(np.loadtxt(rows), read.get_forces(), atol=1e-10)


def test_says_what_is_wrong(energy: Path, tmp_path: Path) -> None:
    export_model(MODELS["plain"](torch.float64), "torchscript", tmp_path / "model.pt")
    (tmp_path / "gold.extxyz").write_text("1\n\nAu 0 0 0\n")
    (tmp_path / "empty.extxyz").write_text("")
    for arguments, words in (
        ([tmp_path / "model.pt"], "usage: energy MODEL STRUCTURE.extxyz"),
        ([tmp_path / "model.pt", tmp_path / "gold.extxyz"], "the potential does not know the element Au"),
        ([tmp_path / "model.pt", tmp_path / "empty.extxyz"], "is no extended XYZ"),
        ([tmp_path / "none.pt", tmp_path / "gold.extxyz"], "error: "),
    ):
        result = run(energy, *arguments)
        assert result.returncode == 1
        assert words in result.stderr
