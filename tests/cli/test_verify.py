import json
import sys
from functools import partial

import ase.io
import pytest
from ase.build import bulk as build_bulk

from equinet.simulate.verify import CHECKS, DYNAMIC_CHECKS, STATIC_CHECKS

BROKEN = """
from ase.calculators.emt import EMT

class Scaled(EMT):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = 1.01 * self.results["forces"]

def factory(factor):
    assert factor == 2
    return EMT()
"""


@pytest.fixture
def few_checks(monkeypatch):
    """Only the quickest of the checks."""
    import equinet.simulate.verify as module

    quick = {name: STATIC_CHECKS[name] for name in ("rotation", "forces = -dE/dx", "no stress of a molecule")}
    monkeypatch.setattr(module, "STATIC_CHECKS", quick)
    monkeypatch.setattr(module, "DYNAMIC_CHECKS", {})


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_calculators.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_calculators"
    sys.modules.pop("own_calculators", None)


def test_a_model_passes_on_a_structure(run, model_file, crystal, tmp_path, monkeypatch):
    import equinet.simulate.verify as module

    short = {name: partial(check, steps=60) for name, check in DYNAMIC_CHECKS.items()}
    monkeypatch.setattr(module, "DYNAMIC_CHECKS", short)
    table = tmp_path / "checks.json"
    code, out, err = run("verify", model_file, "--structure", crystal, "--json", table)
    assert (code, err) == (0, "")
    for name in CHECKS:
        assert name in out
    assert out.count(" pass ") == len(CHECKS) - 1
    assert out.count(" n/a ") == 1  # a crystal has a stress
    rows = json.loads(table.read_text())
    assert [row["name"] for row in rows] == list(CHECKS)
    assert {row["structure"] for row in rows} == {"crystal.extxyz"}


def test_drawn_structures_and_float32(run, model_file, few_checks):
    code, out, err = run("verify", model_file, "--dtype", "float32")
    assert (code, err) == (0, "")
    assert "float32, on bulk, slab, wire, molecule, triclinic" in out
    assert out.count(" pass ") == 3


def test_another_s_calculator(run, few_checks):
    code, out, err = run("verify", "--calculator", "ase.calculators.emt:EMT", "--species", "Cu", "Au")
    assert (code, err) == (0, "")
    assert out.count(" pass ") == 3


def test_a_broken_calculator_fails_with_numbers(run, own_module, few_checks, tmp_path):
    ase.io.write(tmp_path / "cu.extxyz", build_bulk("Cu", cubic=True))
    code, out, err = run("verify", "--calculator", f"{own_module}:Scaled", "--structure", "cu.extxyz")
    assert code == 1
    assert err == "equinet: error: 1 of 3 checks failed: forces = -dE/dx\n"
    (line,) = [line for line in out.splitlines() if " FAIL " in line]
    assert "forces = -dE/dx" in line
    assert "1.0e-05" in line


def test_arguments_reach_the_calculator(run, fails, own_module, few_checks):
    command = ["verify", "--calculator", f"{own_module}:factory", "--species", "Cu", "--arguments"]
    assert run(*command, '{"factor": 2}')[0] == 0
    assert "cannot be made: AssertionError" in fails(*command, '{"factor": 3}')
    assert "not JSON" in fails(*command, "factor=2")
    assert "not a JSON object" in fails(*command, "[2]")


def test_errors(fails, model_file):
    assert "MODULE:CLASS" in fails("verify", "--calculator", "ase.calculators.emt", "--species", "Cu")
    assert "no attribute 'EMTX'" in fails("verify", "--calculator", "ase.calculators.emt:EMTX", "--species", "Cu")
    assert "No module named 'nonsuch'" in fails("verify", "--calculator", "nonsuch:X", "--species", "Cu")
    assert "'Xx' is no chemical symbol" in fails("verify", model_file, "--species", "Xx")
    assert "the potential does not know O" in fails("verify", model_file, "--species", "O")
    assert "no such file" in fails("verify", model_file, "--structure", "absent.xyz")


@pytest.mark.parametrize("arguments", [[], ["m.safetensors", "--calculator", "a:B"], ["--calculator", "a:B"]])
def test_usage(run, arguments):
    assert run("verify", *arguments)[0] == 2
