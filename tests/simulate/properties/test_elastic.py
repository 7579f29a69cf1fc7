from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties import starting_structure
from equinet.simulate.properties.elastic import ElasticSettings, elastic_tensor, fit_stiffness, strained_cells
from equinet.simulate.properties.elastic_figure import draw_elastic
from equinet.simulate.properties.moduli import kelvin_moduli
from equinet.units import EV_PER_A3_IN_GPA
from tests.simulate.properties.conftest import Wrong, relaxed

CLAMPED = ElasticSettings(relax_ions=False)


def energy(atoms, deformation, relax=False) -> float:
    """ASE's, of a deformed copy."""
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ deformation.T, scale_atoms=True)
    strained.calc = EMT()
    if relax:
        BFGS(strained, logfile=None).run(fmax=1e-6)
    return strained.get_potential_energy()


def curvature(atoms, deformation, step=2e-3, relax=False) -> float:
    """Second derivative of the energy density by the parameter of a deformation, GPa (five points)."""
    values = [energy(atoms, deformation(k * step), relax) for k in (-2, -1, 0, 1, 2)]
    second = np.dot([-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12], values) / step**2
    return second / atoms.get_volume() * EV_PER_A3_IN_GPA


def calculated_stress(atoms) -> np.ndarray:
    return EMT().get_property("stress", atoms) * EV_PER_A3_IN_GPA


def lagrange(component, amount):
    """F of a Green-Lagrange strain, by the series of the square root: not as the code under test does it."""
    strain = np.zeros((3, 3))
    i, j = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][component]
    strain[i, j] += amount / 2
    strain[j, i] += amount / 2
    square = strain @ strain
    return np.eye(3) + strain - square / 2 + square @ strain / 2 - 5 / 8 * square @ square


@pytest.mark.parametrize("symbol", ["Cu", "Al", "Ni"])
def test_cubic_constants_are_second_derivatives_of_the_energy(symbol):
    atoms = relaxed(symbol)
    tensor = elastic_tensor(atoms, EMT(), CLAMPED).clamped_ion
    c = tensor.stiffness_gpa
    # engineering strains, which give the same where there is no stress: uniaxial, tetragonal, shear
    c11 = curvature(atoms, lambda e: np.diag([1 + e, 1, 1]))
    c11_minus_c12 = curvature(atoms, lambda e: np.diag([1 + e, 1 / (1 + e), 1])) / 2
    c44 = curvature(atoms, lambda e: np.array([[1, e, 0], [0, 1, 0], [0, 0, 1.0]]))
    assert c[0, 0] == pytest.approx(c11, rel=2e-3)
    assert c[0, 0] - c[0, 1] == pytest.approx(c11_minus_c12, rel=2e-3)
    assert c[3, 3] == pytest.approx(c44, rel=2e-3)
    np.testing.assert_allclose(np.diag(c), [c[0, 0]] * 3 + [c[3, 3]] * 3, rtol=1e-6)
    assert abs(c[:3, 3:]).max() < 1e-6
    assert tensor.asymmetry_gpa < 1e-6
    assert tensor.moduli.stable
    assert tensor.nonlinearity < 0.005


def test_relaxed_ions_are_the_second_derivative_of_the_relaxed_energy(hexagonal):
    result = elastic_tensor(hexagonal, EMT())
    for component in range(6):
        for kind, tensor in ((False, result.clamped_ion), (True, result.relaxed_ion)):
            expected = curvature(hexagonal, lambda e, k=component: lagrange(k, e), relax=kind)
            assert tensor.stiffness_gpa[component, component] == pytest.approx(expected, rel=3e-3), (component, kind)
    soft, stiff = result.relaxed_ion.stiffness_gpa, result.clamped_ion.stiffness_gpa
    assert stiff[0, 0] - soft[0, 0] > 5  # atoms of hcp move under strain in the plane, and only there
    assert stiff[2, 2] == pytest.approx(soft[2, 2], abs=0.01)
    assert soft[5, 5] == pytest.approx((soft[0, 0] - soft[0, 1]) / 2, rel=1e-3)
    assert result.internal_relaxation_gpa == pytest.approx(abs(soft - stiff).max())
    assert result.best is result.relaxed_ion


def test_relaxed_ions_follow_from_clamped_ones_and_the_force_constants(hexagonal):
    """C_relaxed = C_clamped - L K^-1 L^T / V, of the forces that strains and displacements give."""
    atoms, volume, step = hexagonal.copy(), hexagonal.get_volume(), 1e-4
    atoms.calc = EMT()
    constants = np.zeros((6, 6))
    for index in range(6):
        for sign in (1, -1):
            moved = hexagonal.copy()
            moved.calc = EMT()
            moved.positions[index // 3, index % 3] += sign * step
            constants[index] -= sign * moved.get_forces().ravel() / (2 * step)
    coupling = np.zeros((6, 6))
    for component in range(6):
        for sign in (1, -1):
            strained = hexagonal.copy()
            strained.set_cell(hexagonal.cell.array @ lagrange(component, sign * step).T, scale_atoms=True)
            strained.calc = EMT()
            coupling[component] += sign * strained.get_forces().ravel() / (2 * step)
    softer = coupling @ np.linalg.pinv(constants, rcond=1e-6) @ coupling.T / volume * EV_PER_A3_IN_GPA
    result = elastic_tensor(hexagonal, EMT())
    difference = result.clamped_ion.stiffness_gpa - result.relaxed_ion.stiffness_gpa
    np.testing.assert_allclose(difference, softer, atol=0.1)


def test_under_stress_it_is_still_the_second_derivative(copper):
    squeezed = copper.copy()
    squeezed.set_cell(copper.cell.array @ np.diag([0.97, 1.0, 1.01]), scale_atoms=True)
    tensor = elastic_tensor(squeezed, EMT(), CLAMPED).clamped_ion
    assert abs(calculated_stress(squeezed)).max() > 2  # by which Cauchy stress by engineering strain is asymmetric
    assert tensor.asymmetry_gpa < 1e-4  # fifth powers of the strain are left
    for component in range(6):
        expected = curvature(squeezed, lambda e, k=component: lagrange(k, e))
        assert tensor.stiffness_gpa[component, component] == pytest.approx(expected, rel=3e-3)


def test_a_turned_crystal_has_the_same_invariants(copper):
    turned = copper.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    one, other = (elastic_tensor(each, EMT(), CLAMPED).clamped_ion for each in (copper, turned))
    assert abs(one.stiffness_gpa - other.stiffness_gpa).max() > 1
    np.testing.assert_allclose(one.moduli.kelvin_moduli_gpa, other.moduli.kelvin_moduli_gpa, rtol=1e-4)
    assert other.moduli.universal_anisotropy == pytest.approx(one.moduli.universal_anisotropy, rel=1e-3)
    assert other.moduli.young_max_gpa == pytest.approx(one.moduli.young_max_gpa, rel=1e-3)


def test_the_cubic_term_is_taken_out():
    strains = np.array([-0.01, -0.005, -0.002, 0.002, 0.005, 0.01])
    linear = np.arange(36.0).reshape(6, 6) + 10
    stresses = np.stack([np.outer(strains, row) + 500 * strains[:, None] ** 2 for row in linear.T])
    stiffness, nonlinearity = fit_stiffness(strains, stresses)
    np.testing.assert_allclose(stiffness, linear, rtol=1e-10)
    assert nonlinearity < 1e-10
    stiffness, nonlinearity = fit_stiffness(strains, stresses + 1e4 * strains[:, None] ** 3)
    np.testing.assert_allclose(stiffness, linear, rtol=1e-10)
    assert nonlinearity == pytest.approx(1e4 * 0.01**2 / 45)


def test_a_stress_with_a_kink_warns(copper):
    class Kinked(EMT):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            if abs(self.results["stress"]).max() * EV_PER_A3_IN_GPA > 0.5:
                self.results["stress"] = self.results["stress"] * 1.1

    with pytest.warns(DataWarning, match="leaves the linear range"):
        elastic_tensor(copper, Kinked(), CLAMPED)


def test_a_stress_that_is_no_derivative_warns(copper):
    class Skewed(Wrong):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["stress"] = self.results["stress"] * np.array([1.1, 1, 1, 1, 1, 1])

    with pytest.warns(DataWarning, match="asymmetric"):
        elastic_tensor(copper, Skewed(0.0), CLAMPED)


def test_an_unstable_crystal_is_told():
    body_centred = relaxed("Cu", "bcc", a=2.87)
    with pytest.warns(DataWarning, match="elastically unstable"):
        tensor = elastic_tensor(body_centred, EMT(), CLAMPED).clamped_ion
    assert tensor.stiffness_gpa[0, 0] < tensor.stiffness_gpa[0, 1]
    assert not tensor.moduli.stable
    assert kelvin_moduli(tensor.stiffness_gpa)[0] < 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amplitudes": (0.01,)}, "two or more"),
        ({"amplitudes": (0.01, 0.2)}, "make no sense"),
        ({"amplitudes": (-0.01, 0.02)}, "make no sense"),
        ({"fmax": -1.0}, "fmax"),
    ],
)
def test_settings_that_make_no_sense(copper, change, says):
    with pytest.raises(InputError, match=says):
        elastic_tensor(copper, EMT(), replace(ElasticSettings(), **change))


def test_a_crystal_under_stress_is_refused_at_the_start():
    with pytest.raises(InputError, match=r"under stress: up to .* GPa, above 0\.1"):
        starting_structure(bulk("Cu", a=3.7, cubic=True), EMT())


def test_fixed_atoms_are_refused_at_the_start(copper):
    from ase.constraints import FixAtoms

    held = copper.copy()
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="fixed"):
        starting_structure(held, EMT())


def test_steps_are_counted_and_the_figure_has_the_tensor(copper):
    settings = ElasticSettings((0.002, 0.004))
    seen = []
    result = elastic_tensor(copper, EMT(), settings, seen.append)
    assert seen == list(range(1, strained_cells(settings) + 1))
    figure = draw_elastic(result, "copper")
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert len(numbers) == 36
    assert numbers[0] == f"{result.relaxed_ion.stiffness_gpa[0, 0]:.1f}"
