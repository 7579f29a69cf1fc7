from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.surface import (
    EV_PER_A2_IN_J_PER_M2,
    SurfaceSettings,
    cut_slab,
    draw_surface,
    possible_cuts,
    surface_energy,
)
from tests.simulate.properties.conftest import relaxed


@pytest.mark.parametrize(("miller", "slab"), [((1, 0, 0), fcc100), ((1, 1, 0), fcc110), ((1, 1, 1), fcc111)])
def test_copper_is_as_with_ase(copper, miller, slab):
    result = surface_energy(copper, EMT(), SurfaceSettings(miller))
    atoms = slab("Cu", (1, 1, 9), a=copper.cell[0, 0], vacuum=10.0, orthogonal=slab is not fcc111)
    atoms.calc = EMT()
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    bulk_energy = copper.get_potential_energy() / 4
    factor = EV_PER_A2_IN_J_PER_M2 / (2 * area)
    unrelaxed = (atoms.get_potential_energy() - len(atoms) * bulk_energy) * factor
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    ended = (atoms.get_potential_energy() - len(atoms) * bulk_energy) * factor
    assert result.unrelaxed_j_per_m2 == pytest.approx(unrelaxed, rel=1e-4)
    assert result.relaxed_j_per_m2 == pytest.approx(ended, abs=1e-4)
    assert result.relaxed_j_per_m2 <= result.unrelaxed_j_per_m2
    assert result.relaxed_mev_per_a2 == pytest.approx(result.relaxed_j_per_m2 / 16.02176634 * 1e3)
    assert result.converged
    assert len(result.slabs) >= 2
    assert len(result.cuts_j_per_m2) == 1  # all planes are alike


def test_a_plane_has_one_energy_whatever_its_sign(copper):
    above, below = (surface_energy(copper, EMT(), SurfaceSettings(miller)) for miller in ((2, 1, 1), (-2, -1, -1)))
    assert above.relaxed_j_per_m2 == pytest.approx(below.relaxed_j_per_m2, abs=1e-4)


@pytest.mark.parametrize("miller", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (1, -1, 2)])
def test_slabs_have_whole_layers_wherever_they_are_cut(miller):
    silicon = bulk("Si", cubic=True)
    cuts = possible_cuts(silicon, miller)
    for cut in cuts:
        slab = cut_slab(silicon, miller, 3, cut)
        assert len(slab) == 3 * len(silicon)
        assert slab.pbc.tolist() == [True, True, False]
        bonds = np.bincount(neighbor_list("i", slab, 2.6), minlength=len(slab))
        assert bonds.max() == 4
        assert (bonds == 4).sum() > 0


@pytest.mark.parametrize("miller", [(1, 0, 0), (1, 1, 1), (2, 1, 0)])
def test_slabs_of_a_compound_have_its_composition(miller):
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    for cut in possible_cuts(salt, miller):
        symbols = cut_slab(salt, miller, 2, cut).get_chemical_symbols()
        assert symbols.count("Na") == symbols.count("Cl") == 8


def test_diamond_111_has_two_cuts_through_one_bond_or_three():
    silicon = bulk("Si", cubic=True)
    broken = set()
    for cut in possible_cuts(silicon, (1, 1, 1)):
        slab = cut_slab(silicon, (1, 1, 1), 4, cut)
        bonds = np.bincount(neighbor_list("i", slab, 2.6), minlength=len(slab))
        area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
        atom_area = np.sqrt(3) / 4 * 5.43**2  # of one atom of a plane
        broken.add(round((4 - bonds).sum() / 2 / (area / atom_area), 3))
    assert broken == {1.0, 3.0}


def test_the_cheapest_cut_is_relaxed():
    """Of hcp across its planes: gaps of one third and two thirds alternate."""
    crystal = relaxed("Cu", "hcp", a=2.55, c=4.16)
    result = surface_energy(crystal, EMT(), SurfaceSettings((1, 0, 0)))
    costs = list(result.cuts_j_per_m2.values())
    assert len(costs) == 2
    assert costs == sorted(costs)
    assert result.unrelaxed_j_per_m2 == pytest.approx(costs[0], rel=1e-3)


def test_a_thin_slab_warns(copper):
    with pytest.warns(DataWarning, match=r"still changes by .* J/m\^2"):
        result = surface_energy(copper, EMT(), SurfaceSettings((1, 0, 0), 2.0, 6.0, 1e-9))
    assert not result.converged


def test_a_primitive_cell_warns():
    pytest.importorskip("spglib", reason="spglib tells which cell is conventional (the extra 'properties')")
    with pytest.warns(DataWarning, match="not the conventional one"):
        surface_energy(relaxed("Cu"), EMT())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"miller": (0, 0, 0)}, "no plane"),
        ({"miller": (2, 2, 2)}, "common factor 2.*give 1 1 1"),
        ({"miller": (0, -3, 6)}, "common factor 3.*give 0 -1 2"),
        ({"max_thickness": np.inf}, "below --max-thickness"),
        ({"thickness": 40.0}, "below --max-thickness"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"max_steps": 0}, "1 step"),
    ],
)
def test_settings_that_make_no_sense(copper, change, says):
    with pytest.raises(InputError, match=says):
        surface_energy(copper, EMT(), replace(SurfaceSettings(), **change))


def test_figure_has_both_units(copper):
    result = surface_energy(copper, EMT(), SurfaceSettings((1, 1, 0)))
    figure = draw_surface(result, "copper")
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [slab.relaxed_j_per_m2 for slab in result.slabs])
