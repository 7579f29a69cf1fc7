"""Costs measured in processes of their own: the numbers are the calculator's, the parts make up the whole."""

import subprocess

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from benchmarks.peers import SEVENN, cache_folder
from equinet.bench.comparison import Cost, Side, difference, measure_side
from equinet.bench.comparison import _reason as reason
from equinet.bench.crystals import crystal
from equinet.bench.figure import draw
from equinet.errors import InputError
from equinet.interop.sevennet import shipped_name
from equinet.simulate import Calculator
from equinet.simulate.structures import molecule


@pytest.fixture(scope="module")
def atoms():
    return crystal([14], 64)


@pytest.fixture(scope="module")
def cost(model_file, atoms):
    return measure_side(Side("equinet", str(model_file)), atoms, 0.3, 1.0)


def test_results_are_the_calculator_s_and_the_parts_make_up_the_step(cost, model_file, atoms):
    calculator = Calculator(model_file)
    assert cost.energy == pytest.approx(calculator.get_property("energy", atoms), abs=1e-9)
    np.testing.assert_allclose(cost.forces, calculator.get_property("forces", atoms), atol=1e-12)
    np.testing.assert_allclose(cost.stress, calculator.get_property("stress", atoms), atol=1e-12)
    assert cost.atoms == 64
    assert 0 < cost.neighbor_list < cost.model < cost.step
    assert 0 < cost.overhead < 0.5 * cost.step
    assert cost.neighbor_list + cost.model + cost.overhead == pytest.approx(cost.step, rel=0.3)  # medians each
    assert cost.steps >= 3
    assert 1 <= cost.searches <= cost.steps
    assert 0.1 < cost.memory < 1000
    assert cost.version.startswith("equinet-mlip ")
    assert cost.ns_per_day(2.0) == pytest.approx(2e-6 * 86400 / cost.step)


def test_precision_and_arguments_reach_the_calculator(cost, model_file, atoms):
    side = Side("equinet", str(model_file), dtype="float32", arguments={"skin": 0.0})
    single = measure_side(side, atoms, 0.1, 1.0)
    assert single.searches == single.steps + 2  # the start and the step that warms up searched too
    gap = difference(single, cost)
    assert 1e-9 < gap.forces < 1e-3
    assert 0 < gap.energy < 1e-4
    assert 0 < gap.stress < 1e-4
    assert difference(cost, cost) == (type(gap))(0.0, 0.0, 0.0)


def test_a_molecule_has_no_stress(model_file):
    assert measure_side(Side("equinet", str(model_file)), molecule([14]), 0.01, 0.5).stress is None


def test_a_process_that_fails_says_why_in_a_line(model_file, atoms, tmp_path):
    for side, words in (
        (Side("equinet", str(tmp_path / "absent")), "no model file"),
        (Side("mace", "x"), r"No module named 'mace'.*pip install mace-torch"),
        (Side("equinet", str(model_file), python="/nowhere/python"), "/nowhere/python cannot be run"),
    ):
        with pytest.raises(InputError, match=words) as error:
            measure_side(side, atoms, 0.1, 1.0)
        assert "\n" not in str(error.value)
    killed = subprocess.run(["bash", "-c", "kill -9 $$"], capture_output=True, text=True, check=False)
    assert "signal 9; was memory too short" in reason(Side("equinet", "x"), killed)


def test_crystals_fit_the_model():
    silicon = crystal([1, 14, 29], 500)
    assert set(silicon.numbers) == {14}
    assert len(silicon) == 512
    first = neighbor_list("d", silicon, 3.0)
    assert len(first) == 4 * 512
    assert 0.04 < np.std(first) < 0.12
    assert set(crystal([1, 6, 8], 1).numbers) == {6}
    assert len(crystal([29], 100)) == 108
    water = crystal([1, 8], 64)
    assert set(water.numbers) == {1, 8}
    assert neighbor_list("d", water, 3.0).min() > 0.6


def test_the_figure(cost, tmp_path):
    other = Cost("mace", "mace", 2, 64, 1.0, None, None, None, 3, None, 50.0, 0.0, cost.forces, None)
    for name, costs in (("one.png", {"equinet": [cost]}), ("two.svg", {"equinet": [cost], "mace": [other]})):
        draw(costs, 1.0, "title", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    text = (tmp_path / "two.svg").read_text()
    assert text.startswith("<?xml")


def test_sevennet_in_its_own_environment(sevenn_wheel, tmp_path, atoms, monkeypatch):
    """A potential meets the one that it was imported from, with equal results."""
    from equinet.interop.sevennet import import_sevennet
    from equinet.models import save_model

    python = cache_folder() / SEVENN.name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment {python}; benchmarks/inference/step.py makes it")
    monkeypatch.chdir(sevenn_wheel.parent)
    potential = import_sevennet("7net-0")
    assert shipped_name(potential) == "7net-0"
    save_model(potential, tmp_path / "7net-0.safetensors")
    ours = measure_side(Side("equinet", str(tmp_path / "7net-0.safetensors")), atoms, 0.1, 1.0)
    theirs = measure_side(Side("sevennet", "7net-0", str(python)), atoms, 0.1, 1.0)
    gap = difference(ours, theirs)
    assert gap.energy < 1e-5
    assert gap.forces < 2e-4
    assert gap.stress < 2e-5
    assert theirs.version.startswith("sevenn 0.13.0")
