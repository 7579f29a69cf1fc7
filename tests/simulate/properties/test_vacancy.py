import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties import starting_structure
from equinet.simulate.properties.vacancy import (
    VacancySettings,
    chosen_sites,
    draw_vacancies,
    supercells,
    vacancy_energies,
)
from tests.simulate.properties.conftest import relaxed


@pytest.fixture(scope="module")
def alloy() -> Atoms:
    """Cu3Au, ordered: one gold site, three equal copper sites."""
    corner = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.85
    return starting_structure(Atoms("AuCu3", corner, cell=[3.7] * 3, pbc=True), EMT(), "cell")


def by_hand(atoms, site, repeats, potential):
    """Unrelaxed and relaxed, with ASE alone."""
    whole = atoms.repeat(repeats)
    whole.calc = EMT()
    bulk = whole.get_potential_energy()
    del whole[site]
    unrelaxed = whole.get_potential_energy() - bulk + potential
    BFGS(whole, logfile=None).run(fmax=1e-3)
    return unrelaxed, whole.get_potential_energy() - bulk + potential


def test_copper_is_as_by_hand(copper):
    result = vacancy_energies(copper, EMT(), VacancySettings(lengths=(7.0, 10.0)))
    small, large = result.vacancies
    assert (small.repeats, large.repeats) == ((2, 2, 2), (3, 3, 3))
    potential = copper.get_potential_energy() / 4
    for each in (small, large):
        unrelaxed, ended = by_hand(copper, 0, each.repeats, potential)
        assert each.unrelaxed_ev == pytest.approx(unrelaxed, abs=1e-8)
        assert each.relaxed_ev == pytest.approx(ended, abs=1e-4)
        assert each.relaxed_ev < each.unrelaxed_ev
    assert large.unrelaxed_ev == pytest.approx(small.unrelaxed_ev, abs=1e-4)
    assert result.formation_energies_ev == {0: large.relaxed_ev}
    assert result.size_changes_ev[0] == pytest.approx(large.relaxed_ev - small.relaxed_ev)
    assert large.distance_a == pytest.approx(3 * copper.cell[0, 0])
    assert abs(large.pressure_gpa) < abs(small.pressure_gpa)


def test_sites_that_differ_and_references_of_a_compound(alloy):
    potentials = {symbol: relaxed(symbol).get_potential_energy() for symbol in ("Cu", "Au")}
    settings = VacancySettings(lengths=(7.0,), chemical_potentials_ev=potentials)
    result = vacancy_energies(alloy, EMT(), settings)
    assert [each.element for each in result.vacancies] == ["Au", "Cu"]
    assert result.chemical_potentials_ev == potentials
    for each in result.vacancies:
        unrelaxed, ended = by_hand(alloy, each.site, each.repeats, potentials[each.element])
        assert each.unrelaxed_ev == pytest.approx(unrelaxed, abs=1e-8)
        assert each.relaxed_ev == pytest.approx(ended, abs=1e-4)
    assert np.isnan(result.size_changes_ev[0])


def test_a_compound_without_reference_is_one_clear_error(alloy):
    with pytest.raises(
        InputError, match=r"chemical potential of Cu in AuCu3 is not known.*--reference Cu=FILE or Cu=EV"
    ):
        vacancy_energies(alloy, EMT(), VacancySettings(chemical_potentials_ev={"Au": 0.0}))


def test_an_elemental_crystal_s_own_chemical_potential_is_not_replaced_silently(copper):
    own = copper.get_potential_energy() / 4
    settings = VacancySettings(lengths=(7.0,), chemical_potentials_ev={"Cu": own - 2.0})
    with pytest.warns(DataWarning, match=r"of Cu is -2\.\d{4} eV, as given, .* change by -2\.0000 eV"):
        shifted = vacancy_energies(copper, EMT(), settings)
    same = vacancy_energies(copper, EMT(), replace(settings, chemical_potentials_ev={"Cu": own + 1e-6}))  # no warning
    assert same.formation_energies_ev[0] - shifted.formation_energies_ev[0] == pytest.approx(2.0, abs=1e-5)


def test_without_spglib_a_site_must_be_given(copper, monkeypatch):
    monkeypatch.setitem(sys.modules, "spglib", None)
    with pytest.raises(InputError, match="spglib is needed"):
        chosen_sites(copper, None)
    assert chosen_sites(copper, (3, 3, 1)) == [3, 1]


def test_a_supercell_that_is_too_small_warns(copper):
    with pytest.warns(DataWarning, match="between the two largest supercells"):
        vacancy_energies(copper, EMT(), VacancySettings(lengths=(3.0, 7.0)))


def test_supercells_have_faces_far_enough_apart(hexagonal):
    for length, repeats in zip((5.0, 9.0), supercells(hexagonal, (9.0, 5.0, 5.1)), strict=True):
        cell = hexagonal.repeat(repeats).cell
        heights = cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
        assert heights.min() >= length - 1e-3
        smaller = hexagonal.repeat(np.maximum(np.array(repeats) - 1, 1)).cell
        assert smaller.volume < cell.volume


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sites": (4,)}, "no atom 4 in a cell of 4"),
        ({"sites": (-1,)}, "no atom -1"),
        ({"lengths": ()}, "lengths"),
        ({"lengths": (-5.0,)}, "lengths"),
        ({"rattle": 1.0}, "rattle"),
        ({"chemical_potentials_ev": {"Cu": -3.5, "Zz": 3.0}}, "of 'Zz', which is not in Cu4; .* Cu alone"),
        ({"chemical_potentials_ev": {"O": -4.0}}, "of 'O', which is not in Cu4"),
        ({"chemical_potentials_ev": {"Cu": np.nan}}, "a chemical potential of nan eV for Cu"),
        ({"fmax": 0.0}, "fmax"),
    ],
)
def test_settings_that_make_no_sense(copper, change, says):
    with pytest.raises(InputError, match=says):
        vacancy_energies(copper, EMT(), replace(VacancySettings(), **change))


def test_figure_has_both_energies(copper):
    result = vacancy_energies(copper, EMT(), VacancySettings(lengths=(7.0, 10.0)))
    (axes,) = draw_vacancies(result, "copper").axes
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [each.relaxed_ev for each in result.vacancies])
