import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from ase.vibrations import Vibrations

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.simulate import Calculator
from equinet.simulate.dynamics import run_md
from equinet.simulate.relaxation import relax_cell
from equinet.simulate.structures import BUILDERS, bulk, molecule, slab, wire
from tests.simulate.conftest import small_potential


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_numbers_are_the_potential_s_own(potential, builder):
    atoms = builder([6, 14], 2)
    atoms.calc = Calculator(potential)
    prediction = potential(graph_from_atoms(atoms, potential.cutoff))
    assert atoms.get_potential_energy() == prediction.energy.item()
    assert atoms.get_potential_energy(force_consistent=True) == prediction.energy.item()
    np.testing.assert_array_equal(atoms.get_forces(), prediction.forces)
    np.testing.assert_array_equal(atoms.get_potential_energies(), prediction.atom_energies)
    np.testing.assert_array_equal(atoms.calc.results["virial"], prediction.virial[0])
    assert np.abs(atoms.get_forces()).max() > 0.01
    if atoms.pbc.all():
        np.testing.assert_array_equal(voigt_6_to_full_3x3_stress(atoms.get_stress()), prediction.stress[0])
        np.testing.assert_allclose(
            -atoms.get_stress(voigt=False) * atoms.get_volume(), prediction.virial[0], rtol=1e-12
        )


@pytest.mark.parametrize("builder", [slab, wire, molecule])
def test_no_stress_without_three_periodic_directions(potential, builder):
    atoms = builder([14])
    atoms.calc = Calculator(potential)
    with pytest.raises(PropertyNotImplementedError, match="a stress needs three; results"):
        atoms.get_stress()
    assert np.abs(atoms.calc.results["virial"]).max() > 0.01


@pytest.mark.parametrize("model", [None, 3])
def test_what_is_no_model(model):
    with pytest.raises(InputError, match=f"{model} is no model"):
        Calculator(model)


def test_from_a_file_in_either_precision(model_file):
    atoms = bulk([6, 14])
    stored, single = Calculator(model_file), Calculator(str(model_file), dtype="float32")
    assert stored.potential.dtype == torch.float64
    assert single.potential.dtype == torch.float32
    double, float32 = (calc.get_property("forces", atoms) for calc in (stored, single))
    assert 0 < np.abs(double - float32).max() < 1e-4
    assert torch.get_default_dtype() == torch.float32


def test_a_potential_is_shared_when_ready_and_copied_otherwise():
    potential = small_potential(torch.float32)
    weights = {name: weight.clone() for name, weight in potential.state_dict().items()}
    assert Calculator(potential).potential is potential
    double = Calculator(potential, dtype="float64").potential
    assert double.dtype == torch.float64
    assert potential.dtype == torch.float32
    assert all(torch.equal(weight, weights[name]) for name, weight in potential.state_dict().items())
    assert all(weight.dtype == weights[name].dtype for name, weight in potential.state_dict().items())
    potential.train()
    assert not Calculator(potential).potential.training
    assert potential.training
    atoms = bulk([14])
    a, b = (Calculator(p).get_property("energy", atoms) for p in (potential, double))
    assert a == pytest.approx(b, abs=1e-3)


def test_a_converted_copy_equals_a_model_made_in_that_precision():
    """Weights drawn in float32 are exact in float64, so the copy and its source differ by rounding alone."""
    potential = small_potential(torch.float32)
    atoms = bulk([14])
    forces = [Calculator(potential, dtype=d).get_property("forces", atoms) for d in ("float32", "float64")]
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-5)


def test_making_a_copy_leaves_the_random_state_alone():
    potential = small_potential(torch.float32)
    state = torch.random.get_rng_state()
    Calculator(potential, dtype="float64")
    assert torch.equal(state, torch.random.get_rng_state())


def test_results_follow_the_atoms(potential):
    atoms = molecule([14])
    atoms.calc = Calculator(potential)
    before = atoms.get_potential_energy()
    atoms.positions[0] += 0.1
    after = atoms.get_potential_energy()
    assert before != after
    atoms.positions[0] -= 0.1
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-12)


def test_results_do_not_alias(potential):
    atoms = molecule([14])
    atoms.calc = Calculator(potential)
    forces = atoms.get_forces()
    forces[:] = 7.0
    assert not np.any(atoms.get_forces() == 7.0)


def test_errors_are_one_clear_line(potential, tmp_path):
    calc = Calculator(potential)

    def energy(atoms):
        return calc.get_property("energy", atoms)

    with pytest.raises(InputError, match="does not know O; it was trained for C, Si"):
        energy(Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]]))
    with pytest.raises(InputError, match="atom 1 is not finite"):
        energy(Atoms("Si2", [[0, 0, 0], [0, 0, np.nan]]))
    with pytest.raises(InputError, match="at one place"):
        energy(Atoms("Si2", [[0, 0, 0], [0, 0, 0]]))
    with pytest.raises(InputError, match="no model file"):
        Calculator(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="dtype"):
        Calculator(potential, dtype="float16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_where_none_is(potential, model_file, device):
    for model in (potential, model_file):
        with pytest.raises(InputError, match="GPU"):
            Calculator(model, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_numbers(potential):
    atoms = bulk([6, 14])
    here, there = (Calculator(potential, device=device) for device in ("cpu", "cuda"))
    assert next(potential.parameters()).device.type == "cpu"
    for name in ("energy", "energies", "forces", "stress"):
        np.testing.assert_allclose(
            here.get_property(name, atoms), there.get_property(name, atoms), rtol=1e-10, atol=1e-10
        )
    with pytest.raises(InputError, match="does not know O"):
        there.get_property("energy", Atoms("O"))


def test_with_cell_filter_and_vibrations(potential, tmp_path, monkeypatch):
    atoms = bulk([14], 1)
    atoms.calc = Calculator(potential)
    before = atoms.get_potential_energy()
    volume = atoms.get_volume()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=5)
    assert atoms.get_potential_energy() < before
    assert atoms.get_volume() != volume
    monkeypatch.chdir(tmp_path)
    small = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], calculator=Calculator(potential))
    vibrations = Vibrations(small)
    vibrations.run()
    hessian = vibrations.get_vibrations().get_hessian_2d()
    expected = potential.hessian(graph_from_atoms(small, potential.cutoff))
    np.testing.assert_allclose(hessian, expected, atol=1e-3)


def test_results_survive_extxyz_and_traj(potential, tmp_path):
    atoms = bulk([14])
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    for name in ("a.extxyz", "a.traj"):
        write(tmp_path / name, atoms)
        again = read(tmp_path / name)
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(again.get_stress(), atoms.get_stress(), atol=1e-9)


def test_a_skin_changes_no_bit_of_dynamics_or_relaxation():
    potential = small_potential(torch.float32)
    ends, searches = [], []
    for skin in (0.0, 0.6):
        calculator = Calculator(potential, skin=skin)
        run = run_md(bulk([14]), calculator, ensemble="nvt", timestep=1.0, steps=30, temperature=600.0)
        relaxed = relax_cell(run.atoms, calculator, fmax=1e-6, max_steps=10).atoms
        ends.append(np.concatenate([run.total_energies, relaxed.positions.ravel(), relaxed.cell.array.ravel()]))
        searches.append(calculator.neighbors.searches)
    np.testing.assert_array_equal(*ends)
    assert searches[0] == 41
    assert searches[1] < 15
