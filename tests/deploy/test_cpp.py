"""The C++ example, built by its CMakeLists.txt, on what Python exported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
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


def structures() -> dict[str, Atoms]:
    """Of every periodicity, open directions with and without a vector in the file, atoms far outside of their cell."""
    found: dict[str, Atoms] = {kind: BUILDERS[kind](SPECIES, 0) for kind in ("bulk", "triclinic", "slab", "molecule")}
    found["boxed slab"] = found["slab"].copy()
    found["boxed slab"].center(vacuum=1.0, axis=2)  # its images would be near enough
    found["boxed molecule"] = found["molecule"].copy()
    found["boxed molecule"].center(vacuum=0.5)
    found["unwrapped"] = found["triclinic"].copy()
    found["unwrapped"].positions[1] += [2, -3, 1] @ found["triclinic"].cell.array
    assert [atoms.pbc.tolist() for atoms in found.values()].count([True, True, False]) == 2
    return found


@pytest.mark.parametrize("operators", ["torch", "library"])
def test_energy_and_forces(operators: str, energy: Path, ops_library: Path, tmp_path: Path) -> None:
    potential = MODELS["plain"](torch.float64)
    export_model(potential, "torchscript", tmp_path / "model.pt", operators)
    library = [ops_library] if operators == "library" else []
    for kind, atoms in structures().items():
        atoms.write(tmp_path / "structure.extxyz", format="extxyz", columns=["symbols", "positions"])
        result = run(energy, tmp_path / "model.pt", tmp_path / "structure.extxyz", *library)
        assert (result.returncode, result.stderr) == (0, ""), kind
        first, _, *rows = result.stdout.splitlines()
        read = ase.io.read(tmp_path / "structure.extxyz")
        read.calc = Calculator(potential)
        assert float(first.removeprefix("energy (eV): ")) == pytest.approx(read.get_potential_energy(), abs=1e-10), kind
        np.testing.assert_allclose(np.loadtxt(rows), read.get_forces(), atol=1e-10, err_msg=kind)


CELL = 'Lattice="5 0 0 0 5 0 0 0 5"'


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        ("1\n\nAu 0 0 0\n", "the potential does not know the element Au"),
        ("", "is no extended XYZ"),
        ("1\n\nSi 1.0.5 0 2.2\n", "'1.0.5' is no number"),
        ("1\n\nSi 0 0 zero\n", "'zero' is no number"),
        ("1\n\nSi 0 0 nan\n", "'nan' is no number"),
        ("1\n\nSi 0 0\n", "a number is missing"),
        ("3\n\nSi 0 0 0\nSi 0 0 2\n", "rows of atoms are missing, there should be 3"),
        (f"1\n{CELL.lower()}\nSi 0 0 0\n", 'write Lattice="..."'),
        ("1\nLattice={5 0 0 0 5 0 0 0 5}\nSi 0 0 0\n", 'write Lattice="..."'),
        ('1\nLattice="5 0 0 0 5"\nSi 0 0 0\n', "a number is missing"),
        (f'1\n{CELL} pbc="T T"\nSi 0 0 0\n', "pbc needs three of T and F"),
        ('1\npbc="T T F"\nSi 0 0 0\n', "periodic directions need as many independent vectors"),
        ("1\nProperties=pos:R:3:species:S:1\n0 0 0 Si\n", "must begin with species:S:1:pos:R:3"),
    ],
)
def test_bad_structure_is_one_line(structure: str, words: str, energy: Path, scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "structure.extxyz").write_text(structure)
    assert words in complaint(run(energy, scripts / "torch.pt", tmp_path / "structure.extxyz"))


def test_bad_call_is_one_line(energy: Path, scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "one.extxyz").write_text("1\n\nSi 0 0 0\n")
    assert "usage: energy MODEL STRUCTURE.extxyz" in complaint(run(energy, scripts / "torch.pt"))
    assert "none.pt" in complaint(run(energy, tmp_path / "none.pt", tmp_path / "one.extxyz"))
    words = complaint(run(energy, tmp_path / "one.extxyz", tmp_path / "one.extxyz"))
    assert "one.extxyz was not written by equinet export --to torchscript" in words
    words = complaint(run(energy, scripts / "library.pt", tmp_path / "one.extxyz"))
    assert "name libequinet_ops.so as third argument" in words


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with torch.pt and library.pt."""
    folder = tmp_path_factory.mktemp("scripts")
    for operators in ("torch", "library"):
        export_model(MODELS["plain"](torch.float64), "torchscript", folder / f"{operators}.pt", operators)
    return folder


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that failed."""
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line
