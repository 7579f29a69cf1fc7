from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.eos import EquationOfState

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties import starting_structure
from equinet.simulate.properties.eos import EosSettings, draw_eos, equation_of_state
from equinet.simulate.properties.eos_fit import EosFit, fit_eos
from equinet.units import EV_PER_A3_IN_GPA
from tests.simulate.properties.conftest import Wrong, relaxed

FORMS = ("birch-murnaghan", "vinet")


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_a_known_curve_come_back(form):
    known = EosFit(form, -1234.5, 40.0, 20.0, 98.0, 4.7, 0.0, 0.0)
    volumes = np.linspace(36, 43, 9)
    found = fit_eos(volumes, known.energies_ev(volumes), 2, form)
    assert found.energy_ev == pytest.approx(-1234.5, abs=1e-9)
    assert found.volume_a3 == pytest.approx(40.0, rel=1e-7)
    assert found.volume_per_atom_a3 == pytest.approx(20.0, rel=1e-7)
    assert found.bulk_modulus_gpa == pytest.approx(98.0, rel=1e-5)
    assert found.bulk_modulus_derivative == pytest.approx(4.7, rel=1e-4)
    assert found.rms_residual_mev_per_atom < 1e-6
    step = 1e-4
    slopes = (known.energies_ev(volumes + step) - known.energies_ev(volumes - step)) / (2 * step)
    np.testing.assert_allclose(known.pressures_gpa(volumes), -slopes * EV_PER_A3_IN_GPA, atol=1e-5)


def test_fits_are_those_of_ase(copper):
    result = equation_of_state(copper, EMT(), EosSettings(forms=FORMS))
    for fit, name in zip(result.fits, ("birchmurnaghan", "vinet"), strict=True):
        volume, energy, modulus = EquationOfState(result.volumes_a3, result.energies_ev, eos=name).fit()
        assert fit.volume_a3 == pytest.approx(volume, rel=1e-6)
        assert fit.energy_ev == pytest.approx(energy, abs=1e-7)
        assert fit.bulk_modulus_gpa == pytest.approx(modulus * EV_PER_A3_IN_GPA, rel=1e-4)
    assert result.fits[0].volume_a3 == pytest.approx(copper.get_volume(), rel=1e-3)
    assert result.local_bulk_modulus_gpa == pytest.approx(result.fits[0].bulk_modulus_gpa, rel=0.02)


def test_stress_is_compared_with_the_energy(copper):
    result = equation_of_state(copper, EMT())
    assert result.pressure_mismatch_gpa < 1e-3
    assert np.all(np.diff(result.stress_pressures_gpa) < 0)
    with pytest.warns(DataWarning, match="not the derivative of the energy"):
        wrong = equation_of_state(copper, Wrong(0.1))
    largest = abs(result.stress_pressures_gpa).max()
    assert wrong.pressure_mismatch_gpa == pytest.approx(0.1 * largest, rel=0.01)


def test_the_shape_follows_the_volume():
    layered = Atoms("CuPt", [[0, 0, 0], [1.9, 0, 1.8]], cell=[[1.9, -1.9, 0], [1.9, 1.9, 0], [0, 0, 3.6]], pbc=True)
    layered = starting_structure(layered, EMT(), "cell")
    free = equation_of_state(layered, EMT(), EosSettings(points=5))
    held = equation_of_state(layered, EMT(), EosSettings(points=5, relax_ions=False))
    np.testing.assert_allclose(free.volumes_a3, held.volumes_a3, rtol=1e-12)
    assert np.all(free.energies_ev <= held.energies_ev + 1e-12)
    assert held.energies_ev[0] - free.energies_ev[0] > 1e-6
    assert free.relaxed_ions
    assert not held.relaxed_ions


def test_no_minimum_inside_is_one_clear_error(copper):
    stretched = copper.copy()
    stretched.set_cell(copper.cell * 1.08, scale_atoms=True)
    with pytest.raises(InputError, match=r"no minimum of the energy between .* A\^3 .* relax the cell first"):
        equation_of_state(stretched, EMT())


def test_energies_that_are_no_curve_are_told(copper):
    class Kinked(EMT):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["energy"] += 0.01 * np.cos(3 * self.atoms.get_volume())

    with pytest.warns(DataWarning) as told:
        result = equation_of_state(copper, Kinked())
    assert any("off the birch-murnaghan curve" in str(each.message) for each in told)
    assert result.fits[0].relative_residual > 0.02


@pytest.mark.parametrize(("points", "range"), [(5, 0.3), (11, 0.2), (7, 0.1)])
def test_a_curve_whose_modulus_or_pressures_are_not_the_stresses_warns(points, range):
    """EMT's aluminium is far from Birch and Murnaghan's, though its energies are on the curve within 2 %."""
    aluminium = relaxed("Al", cubic=True)
    with pytest.warns(DataWarning, match="does not describe the whole range.*smaller --range") as told:
        wide = equation_of_state(aluminium, EMT(), EosSettings(range, points))
    assert len(told) == 1
    assert f"bulk modulus is {wide.fits[0].bulk_modulus_gpa:.4g} GPa" in str(told[0].message)
    assert f"have {wide.local_bulk_modulus_gpa:.4g}," in str(told[0].message)
    narrow = equation_of_state(aluminium, EMT(), EosSettings(0.01))  # no warning
    assert narrow.local_bulk_modulus_gpa == pytest.approx(narrow.fits[0].bulk_modulus_gpa, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"range": 0.0}, "a range of 0"),
        ({"range": 0.7}, "a range of 0.7"),
        ({"points": 4}, "5 or more"),
        ({"fmax": 0.0}, "fmax"),
        ({"max_steps": 0}, "1 step"),
        ({"forms": ("murnaghan",)}, "unknown form"),
    ],
)
def test_settings_that_make_no_sense(copper, change, says):
    with pytest.raises(InputError, match=says):
        equation_of_state(copper, EMT(), replace(EosSettings(), **change))


def test_a_molecule_has_no_volume():
    with pytest.raises(InputError, match="three periodic directions"):
        equation_of_state(molecule("N2"), EMT())


def test_a_relaxation_that_does_not_end_says_where():
    rattled = bulk("Cu", "hcp", a=2.55, c=4.16).repeat(2)
    rattled.rattle(0.1, seed=1)
    with pytest.raises(InputError, match=r"at 1\.000 of its volume: not relaxed after 2 steps"):
        equation_of_state(rattled, EMT(), EosSettings(max_steps=2))


def test_figure_has_the_numbers(copper):
    result = equation_of_state(copper, EMT(), EosSettings(points=5))
    figure = draw_eos(result, "copper")
    left, right = figure.axes
    assert f"{result.fits[0].bulk_modulus_gpa:.1f} GPa" in left.get_title()
    np.testing.assert_allclose(right.lines[1].get_ydata(), result.stress_pressures_gpa)
