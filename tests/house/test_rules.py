"""Rules of the house that a grep can check, and two promises about imports that need a fresh process."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("equinet", "kernels")
FOLDERS = (*PACKAGES, "tests", "scripts", "benchmarks", "configs", ".ci")

# Derivatives by any of torch's ways. `torch.autograd.Function` is not among them: operators need it.
DERIVATIVES = re.compile(
    r"\bautograd\.(grad|backward|functional(\..*)?)$"
    r"|\btorch\.func\.(grad|grad_and_value|hessian|jacrev|jacfwd|vjp|jvp)$"
)
MACHINE_PATH = re.compile(r"/(work|root|farm|home/[a-z]+)/")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported_modules(tree: ast.AST) -> set[str]:
    """Every module imported, late imports included; `from a.b import c` counts as a.b.c."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def names_used(tree: ast.AST) -> set[str]:
    """Dotted names in expressions (`torch.autograd.grad`), and what was imported by name."""
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {ast.unparse(node) for node in attributes} | imported_modules(tree)


def users_of(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    found = []
    for path in files:
        names = names_used(ast.parse(path.read_text()))
        if any(pattern.search(name) for name in names):
            found.append(path.relative_to(ROOT).as_posix())
    return found


def importers_of(module: str, files: list[Path]) -> list[str]:
    return users_of(re.compile(rf"^{module}(\.|$)"), files)


def top_folder(path: str) -> str:
    return "/".join(path.split("/")[:2])


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.autograd.grad(e, x)",
        "from torch import autograd\nautograd.grad(e, x)",
        "from torch.autograd import grad\ngrad(e, x)",
        "import torch\ntorch.func.hessian(f)",
    ],
)
def test_derivatives_are_seen(source):
    assert any(DERIVATIVES.search(name) for name in names_used(ast.parse(source)))
    assert not any(DERIVATIVES.search(name) for name in names_used(ast.parse("class A(torch.autograd.Function): ...")))


def test_energy_is_differentiated_in_one_file():
    assert users_of(DERIVATIVES, python_files("equinet")) == ["equinet/models/potential.py"]
    # an operator's own second derivative, and the slopes that a table is made of: no energies
    assert users_of(DERIVATIVES, python_files("kernels")) == [
        "kernels/equinet_kernels/radial_conv/tabulated.py",
        "kernels/equinet_kernels/spline/tabulate.py",
    ]


@pytest.mark.parametrize("module", ["lightning", "pytorch_lightning", "wandb"])
def test_training_frameworks_stay_in_training_and_cli(module):
    importers = importers_of(module, python_files(*PACKAGES))
    assert {top_folder(path) for path in importers} <= {"equinet/training", "equinet/cli"}, importers


def test_ase_stays_where_structures_come_in_and_dynamics_runs():
    importers = importers_of("ase", python_files(*PACKAGES))
    assert {top_folder(path) for path in importers} <= {
        "equinet/data",
        "equinet/simulate",
        "equinet/bench",
        "equinet/cli",
        "equinet/uncertainty",  # as a type: frames to choose from
    }
    assert not [path for path in importers if top_folder(path) == "equinet/uncertainty" and at_run_time(path)]


def at_run_time(path):
    """Whether ASE is imported outside of ``if TYPE_CHECKING``."""
    lines = (ROOT / path).read_text().splitlines()
    return any(line.startswith(("import ase", "from ase")) for line in lines)


def test_imports_of_a_known_file_are_seen():
    assert "tests/house/test_rules.py" in importers_of("pytest", python_files("tests"))


def test_global_dtype_is_never_set():
    setter = re.compile(r"\bset_default_" + "(dtype|tensor_type)$")
    assert users_of(setter, python_files(*FOLDERS)) == []


def test_no_module_is_named_utils():
    assert [path for path in python_files(*FOLDERS) if path.stem in {"utils", "util", "helpers"}] == []


def text_files() -> Iterator[Path]:
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    for path in [*ROOT.glob("*.*"), *inside]:
        binary = path.suffix in {".png", ".safetensors", ".pyc", ".gz"} or "__pycache__" in path.parts
        if path.is_file() and not binary:
            yield path


def test_no_file_names_a_machine_path():
    assert MACHINE_PATH.search("data = '/home/" + "someone/file'")
    files = list(text_files())
    assert ROOT / "README.md" in files
    assert ROOT / "equinet" / "units.py" in files
    found = [path for path in files if MACHINE_PATH.search(path.read_text(errors="replace"))]
    assert found == []


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


ONLY_TORCH = """
import importlib, importlib.metadata, pkgutil, re, sys
import torch

names = (re.match(r"[\\w-]+", line)[0] for line in importlib.metadata.requires("torch"))
needed_by_torch = {name.replace("-", "_") for name in names} | {"mpmath", "markupsafe"}
allowed = set(sys.stdlib_module_names) | {"torch", "triton", "equinet_kernels"} | needed_by_torch

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and not top.startswith("_sysconfigdata"):  # the standard library's too, by another name
            raise ModuleNotFoundError(f"refused: {name}", name=name)

sys.meta_path.insert(0, Refuse())
for absent in ("equinet", "e3nn", "ase", "lightning"):
    try:
        importlib.import_module(absent)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{absent} could be imported, the test proves nothing")
import equinet_kernels
modules = [info.name for info in pkgutil.walk_packages(equinet_kernels.__path__, "equinet_kernels.")]
for name in modules:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "triton" or not name.endswith((".launch", ".triton")):  # imported where a GPU is
            raise
print(len(modules))
"""


def test_kernels_import_with_torch_alone():
    result = run_python(ONLY_TORCH)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5


HELP_IS_LIGHT = """
import contextlib, io, sys
from equinet.cli.main import main

out = io.StringIO()
sys.argv = ["equinet", "--help"]
with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
    main()
assert "train" in out.getvalue(), out.getvalue()
print(sorted({"torch", "lightning", "ase", "e3nn", "matplotlib", "scipy", "wandb"} & set(sys.modules)))
"""


def test_help_answers_without_heavy_imports():
    result = run_python(HELP_IS_LIGHT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
