"""Normal modes against a dimer on paper, ASE's vibrations, and displacements."""

import warnings

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from equinet.errors import DataWarning, InputError
from equinet.simulate import Calculator
from equinet.simulate.properties.normal_modes import normal_modes, normal_modes_figure, write_normal_modes
from equinet.simulate.structures import molecule as drawn_molecule
from tests.simulate.conftest import small_potential


def rare_gas():
    return LennardJones(sigma=3.0, epsilon=0.1, rc=50)


def cluster(formula):
    """Of rare gases, at a minimum."""
    atoms = Atoms(formula, np.random.default_rng(0).normal(size=(len(Atoms(formula)), 3)) * 2.5)
    atoms.calc = rare_gas()
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=500)
    return atoms


def test_a_dimer_as_on_paper():
    sigma, epsilon = 3.0, 0.1
    length = 2 ** (1 / 6) * sigma
    atoms = Atoms("ArXe", positions=[[0, 0, 0], [0.6 * length, 0, 0.8 * length]])
    masses = atoms.get_masses()
    stiffness = 72 * epsilon / length**2
    expected = units._hbar * units.J * units.s * np.sqrt(stiffness * (1 / masses).sum())  # eV
    found = normal_modes(atoms, LennardJones(sigma=sigma, epsilon=epsilon, rc=50), "displacements", 1e-3)
    assert found.linear
    assert found.frequencies_inverse_cm == pytest.approx([expected / units.invcm], rel=1e-5)
    assert found.frequencies_thz == pytest.approx([expected / (2 * np.pi * units._hbar * units.J * 1e12)], rel=1e-5)
    assert found.zero_point_energy_ev == pytest.approx(expected / 2, rel=1e-5)
    first, second = found.displacements[0] * masses[:, None]
    np.testing.assert_allclose(first, -second, atol=1e-9)  # the centre of mass rests
    np.testing.assert_allclose(np.cross(first, [0.6, 0, 0.8]), 0, atol=1e-9)


@pytest.mark.parametrize(("formula", "modes"), [("Ar2Ne", 3), ("XeAr4", 9)])
def test_equal_to_ase_vibrations(formula, modes, tmp_path):
    atoms = cluster(formula)
    found = normal_modes(atoms, rare_gas(), "displacements")
    vibrations = Vibrations(atoms, name=str(tmp_path / "vibrations"), delta=0.01)
    vibrations.run()
    values = vibrations.get_frequencies()
    assert len(found.frequencies_inverse_cm) == modes
    assert not found.linear
    expected = np.sort(values.real - values.imag)[-modes:]
    np.testing.assert_allclose(found.frequencies_inverse_cm, expected, atol=0.01)
    assert 10 < expected.min() < expected.max() < 200
    assert abs(found.rigid_inverse_cm).max() < 2
    assert found.zero_point_energy_ev == pytest.approx(vibrations.get_zero_point_energy(), rel=1e-3)
    assert len(found.imaginary_inverse_cm) == 0


def test_modes_move_no_centre_of_mass_and_turn_nothing():
    atoms = cluster("XeAr4")
    found = normal_modes(atoms, rare_gas(), "displacements")
    masses, arms = atoms.get_masses(), atoms.positions - atoms.get_center_of_mass()
    for mode in found.displacements:
        assert np.linalg.norm(mode) == pytest.approx(1)
        np.testing.assert_allclose(masses @ mode, 0, atol=1e-9)
        np.testing.assert_allclose((masses[:, None] * np.cross(arms, mode)).sum(axis=0), 0, atol=1e-9)


def test_the_hessian_gives_what_displacements_approach():
    calculator = Calculator(small_potential())
    atoms = drawn_molecule([6, 14], 1)
    differences = []
    for distance in (2e-3, 1e-3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = normal_modes(atoms, calculator, displacement_angstrom=distance)
        assert found.method == "hessian"
        differences.append(found.largest_difference_inverse_cm)
    assert differences[0] / differences[1] == pytest.approx(4, rel=0.1)
    assert len(found.frequencies_thz) == 3 * len(atoms) - 6


def test_imaginary_modes_are_flagged(tmp_path):
    atoms = Atoms("Ar3", positions=[[-3.4, 0, 0], [0, 0, 0], [3.4, 0, 0]])
    atoms.calc = calculator = rare_gas()
    BFGS(atoms, logfile=None).run(fmax=1e-7, steps=200)  # stays linear, which is a saddle
    with pytest.warns(DataWarning, match=r"2 imaginary modes \(-\d+, -\d+ cm\^-1\)"):
        found = normal_modes(atoms, calculator, "displacements", 1e-3)
    assert found.linear
    assert len(found.imaginary_inverse_cm) == 2
    assert (found.imaginary_inverse_cm == found.frequencies_inverse_cm[:2]).all()
    figure = normal_modes_figure(atoms, found)
    assert figure.axes[0].get_xlim()[0] < found.imaginary_inverse_cm[0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["imaginary"]
    paths = write_normal_modes(tmp_path, atoms, found, {}, "")
    assert [path.name for path in paths] == ["normal_modes.json", "normal_modes.png"]


def test_bad_input():
    for atoms in (bulk("Cu"), Atoms("Cu")):
        with pytest.raises(InputError, match="no periodic direction, and two atoms at least"):
            normal_modes(atoms, EMT(), "displacements")
    with pytest.raises(InputError, match="a displacement of -1 A makes no sense"):
        normal_modes(cluster("Ar2"), EMT(), "displacements", -1)
    with pytest.raises(InputError, match="use the method displacements"):
        normal_modes(cluster("Ar2"), EMT())
