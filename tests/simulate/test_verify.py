import numpy as np
import pytest
import torch
from ase.build import bulk as crystal
from ase.calculators.emt import EMT

from equinet.models import NequIPArchitecture, Potential
from equinet.simulate import Calculator, structures
from equinet.simulate.verify import (
    CHECKS,
    DYNAMIC_CHECKS,
    FLOAT32,
    FLOAT64,
    STATIC_CHECKS,
    Check,
    built_in_structures,
    closed_loop_work,
    energy_drift,
    energy_fluctuation,
    forces_are_gradients,
    rattled,
    reflection,
    run_checks,
    virial_is_gradient,
    worst_of_each,
)
from equinet.simulate.verify.conservation import stiffest_frequency
from equinet.simulate.verify.gradients import derivative
from tests.simulate import broken


def failures(checks):
    return {check.name for check in checks if check.passed is False}


def molecule():
    return {"molecule": structures.molecule([14], 1)}


def bulk():
    return {"bulk": structures.bulk([14], 1)}


def test_lennard_jones_passes_everything_everywhere():
    checks = run_checks(broken.lennard_jones(), built_in_structures([14]), FLOAT64, STATIC_CHECKS)
    assert failures(checks) == set()
    assert len(checks) == 5 * len(STATIC_CHECKS)
    checks += run_checks(broken.lennard_jones(), bulk(), FLOAT64, DYNAMIC_CHECKS)
    assert {check.name for check in checks if check.passed} == set(CHECKS)


def test_emt_passes_everything_everywhere():
    checks = run_checks(EMT(), built_in_structures([29, 79], seed=1), FLOAT64, STATIC_CHECKS)
    assert failures(checks) == set()


GRADIENT, STRESS, HESSIAN = "forces = -dE/dx", "stress = dE/dstrain", "Hessian is symmetric"
LOOP, NO_STRESS = "work round a closed loop", "no stress of a molecule"


@pytest.mark.parametrize("precision", [FLOAT64, FLOAT32], ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("kind", "where", "expected"),
    [
        (broken.ScaledForces, bulk, {GRADIENT}),
        (broken.NonConservative, molecule, {GRADIENT, HESSIAN, LOOP}),
        (broken.WrongStressSign, bulk, {STRESS}),
        (broken.StressForAll, molecule, {NO_STRESS}),
        (broken.HalfVirial, molecule, {STRESS}),
    ],
)
def test_each_break_is_caught_by_the_right_check(kind, where, expected, precision):
    checks = run_checks(broken.lennard_jones(kind), where(), precision, STATIC_CHECKS)
    assert failures(checks) == expected


@pytest.mark.parametrize("precision", [FLOAT64, FLOAT32], ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (broken.pair_energy, set()),
        (broken.chiral_energy, {"reflection"}),
        (broken.anisotropic_energy, {"rotation", "reflection"}),
        (broken.index_dependent_energy, {"permutation", "extensivity"}),
        (broken.field_energy, {"rotation", "reflection", "translation", "extensivity"}),
        (broken.superextensive_energy, {"extensivity"}),
    ],
)
def test_each_broken_symmetry_is_caught_by_the_right_check(energy, expected, precision):
    checks = run_checks(broken.MoleculeEnergy(energy), molecule(), precision, STATIC_CHECKS)
    assert failures(checks) == expected


@pytest.mark.parametrize("precision", [FLOAT64, FLOAT32], ids=lambda p: p.name)
@pytest.mark.parametrize("kind", [broken.ScaledForces, broken.NonConservative])
def test_energy_error_is_not_of_second_order_when_forces_are_wrong(kind, precision):
    atoms = structures.molecule([14], 1)
    assert energy_fluctuation(broken.lennard_jones(), atoms, precision).passed
    assert not energy_fluctuation(broken.lennard_jones(kind), atoms, precision).passed


def test_drift_catches_a_force_that_feeds_energy():
    check = energy_drift(broken.lennard_jones(broken.NonConservative), molecule()["molecule"], FLOAT64, steps=300)
    assert not check.passed
    assert energy_drift(broken.lennard_jones(), molecule()["molecule"], FLOAT64, steps=300).passed


def test_values_are_what_they_say():
    atoms = bulk()["bulk"]
    check = forces_are_gradients(broken.lennard_jones(broken.ScaledForces), atoms, FLOAT64)
    forces = broken.lennard_jones(broken.ScaledForces).get_property("forces", atoms)
    expected = np.max(np.abs(forces)) * 0.01 / 1.01 / np.sqrt(np.mean(forces**2))
    assert check.value == pytest.approx(expected, rel=1e-3)
    check = virial_is_gradient(broken.lennard_jones(broken.WrongStressSign), atoms, FLOAT64)
    assert "stress" in check.detail
    assert check.value > 0.1


def test_a_calculator_that_raises_fails_and_says_why():
    checks = run_checks(broken.lennard_jones(broken.Raising), molecule(), FLOAT64, STATIC_CHECKS)
    assert all(check.passed is False and "RuntimeError: out of order" in check.detail for check in checks)


def test_stress_does_not_apply_where_none_is_offered():
    check = virial_is_gradient(broken.lennard_jones(), structures.slab([14]), FLOAT64)
    assert check.passed is None
    assert "neither" in check.detail


def test_loop_integral_of_a_rotating_force():
    """The work of F = c (-y, x) round a loop is 2 c times its area: compare with a direct fine sum."""
    atoms = structures.molecule([14], 1)
    calculator = broken.lennard_jones(broken.NonConservative)
    coarse = closed_loop_work(calculator, atoms, FLOAT64, most_points=128)
    fine = closed_loop_work(calculator, atoms, FLOAT64, most_points=512)
    assert coarse.value == pytest.approx(fine.value, rel=1e-3)
    assert fine.value > 100 * FLOAT64.loop_work


@pytest.mark.parametrize("kink", [0.0003, 0.0007, 0.0012, 0.0035])
def test_a_jump_of_the_curvature_beside_the_point_spoils_no_derivative(kink):
    """As when two atoms pass the onset of an XPLOR envelope: the longest step alone is off."""
    step, noise = 2e-3, 1e-14 * np.random.default_rng(0).standard_normal(100)
    draws = iter(noise)

    def energy(x):
        return np.sin(x) + 100.0 * np.maximum(x - kink, 0.0) ** 2 + next(draws)

    plain = (energy(-2 * step) - 8 * energy(-step) + 8 * energy(step) - energy(2 * step)) / (12 * step)
    assert abs(plain - 1.0) > 50 * FLOAT64.gradient
    assert derivative(energy, step) == pytest.approx(1.0, abs=1e-9)


def test_a_derivative_with_an_undefined_value_is_undefined():
    for bad in (0.02, 0.01, 0.00125):
        assert np.isnan(derivative(lambda x, bad=bad: np.nan if x == bad else x, 0.01))


def test_mirror_images_are_measured_but_not_judged_where_symmetry_is_not_claimed():
    calculator = broken.MoleculeEnergy(broken.chiral_energy)
    judged = reflection(calculator, molecule()["molecule"], FLOAT64)
    calculator.mirror_symmetric = False
    measured = reflection(calculator, molecule()["molecule"], FLOAT64)
    assert judged.passed is False
    assert measured.passed is None
    assert measured.value == judged.value
    assert "not claimed" in measured.detail


@pytest.mark.parametrize(("parity", "verdict"), [("full", True), ("natural", True), ("none", None)])
def test_a_potential_claims_mirror_symmetry_when_its_features_have_parity(parity, verdict):
    architecture = NequIPArchitecture(cutoff=4.5, layers=3, l_max=2, channels=4, mean_neighbors=15.0, parity=parity)
    calculator = Calculator(Potential(architecture, [14], [0.0], scale=50.0, dtype=torch.float64).eval())
    check = reflection(calculator, molecule()["molecule"], FLOAT64)
    assert check.passed is verdict
    assert (check.value < 1e-9) == (verdict is True)


def test_stiffest_frequency_of_a_dimer():
    """2.4 A sigma-like pair energy: omega = sqrt(2 k / m), k from the second derivative at the minimum."""
    from ase import Atoms, units

    r0 = 2.4 * 2 ** (1 / 6)
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, r0]])
    curvature = derivative(
        lambda x: derivative(lambda y: 2 * ((2.4 / (r0 + x + y)) ** 12 - (2.4 / (r0 + x + y)) ** 6), 1e-3),
        1e-3,
    )
    expected = np.sqrt(2 * curvature / atoms.get_masses()[0]) * units.fs
    found = stiffest_frequency(broken.MoleculeEnergy(broken.pair_energy), atoms, FLOAT64)
    assert found == pytest.approx(expected, rel=2e-2)


def test_fluctuation_of_a_perfect_crystal_is_measured_too():
    check = energy_fluctuation(EMT(), crystal("Cu", cubic=True), FLOAT64, steps=60)
    assert check.passed
    assert "ratio" in check.detail


def test_rattled_moves_every_atom_and_drops_constraints():
    from ase.constraints import FixAtoms

    atoms = crystal("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    moved = rattled(atoms)
    assert not moved.constraints
    assert np.all(np.linalg.norm(moved.positions - atoms.positions, axis=1) > 1e-3)


def test_worst_of_each_prefers_failures_then_large_values():
    def check(value, passed, structure):
        return Check("x", value, 1.0, "eV", passed, "", structure)

    nan = float("nan")
    rows = [check(nan, None, "a"), check(0.2, True, "b"), check(0.5, True, "c")]
    assert [w.structure for w in worst_of_each(rows)] == ["c"]
    rows += [check(2.0, False, "d"), check(nan, False, "e")]
    assert [w.structure for w in worst_of_each(rows)] == ["e"]


def test_the_tables_hold_every_check_once():
    assert len(CHECKS) == len(STATIC_CHECKS) + len(DYNAMIC_CHECKS)
    atoms = structures.molecule([14], 1)
    for name, check in STATIC_CHECKS.items():
        assert check(broken.lennard_jones(), atoms, FLOAT64).name == name
