import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equinet import Calculator
from equinet.errors import InputError
from equinet.simulate.properties.dimers import dimer_curve, draw_dimers, pairs_of
from equinet.simulate.properties.volumes import draw_volumes, volume_scan
from tests.models.conftest import nequip
from tests.simulate.properties.conftest import Pair, Uniform

ARGON = LennardJones(sigma=3.4, epsilon=0.01, rc=9.0, smooth=True)


def morse(r):
    return 5 * (np.exp(-4 * (r - 1.5)) - 2 * np.exp(-2 * (r - 1.5)))


def morse_slope(r):
    return 5 * (-4 * np.exp(-4 * (r - 1.5)) + 4 * np.exp(-2 * (r - 1.5)))


def test_a_sound_curve_has_no_flag():
    curve = dimer_curve(("Ar", "Ar"), ARGON, longest=9.0)
    assert curve.flags == ()
    assert len(curve.minima) == 1
    assert curve.minima[0].distance_a == pytest.approx(2 ** (1 / 6) * 3.4, abs=0.03)
    assert curve.minima[0].barrier_ev == 0
    assert (curve.distances_a[0], curve.distances_a[-1]) == (0.5, 9.0)
    expected = ARGON.get_property("energy", Atoms("Ar2", [[0, 0, 0], [0, 0, 9.0]]))
    assert curve.energies_ev[-1] == pytest.approx(expected)


def test_atoms_that_fall_into_each_other_are_flagged():
    """A well at the bond, a hole within it."""
    hole = Pair(
        lambda r: morse(r) - 200 * np.exp(-(((r - 0.6) / 0.1) ** 2)),
        lambda r: morse_slope(r) + 400 * (r - 0.6) / 0.01 * np.exp(-(((r - 0.6) / 0.1) ** 2)),
    )
    curve = dimer_curve(("Si", "Si"), hole, longest=6.0)
    assert [flag.split(":")[0] for flag in curve.flags] == ["not repulsive", "hole"]
    inner, outer = curve.minima
    assert inner.distance_a == pytest.approx(0.6, abs=0.05)
    assert inner.energy_ev == pytest.approx(morse(0.6) - 200, abs=20)
    assert inner.barrier_ev == pytest.approx(curve.energies_ev[curve.distances_a >= 0.7].max())
    assert outer.distance_a == pytest.approx(1.5, abs=0.03)
    sound = dimer_curve(("Si", "Si"), Pair(morse, morse_slope), longest=6.0)
    assert sound.flags == ()


def test_attraction_to_the_shortest_distance_is_a_hole():
    curve = dimer_curve(("C", "C"), Pair(lambda r: -np.exp(-r * r), lambda r: 2 * r * np.exp(-r * r)), longest=5.0)
    assert any(flag.startswith("not repulsive") for flag in curve.flags)
    assert any(flag.startswith("hole: a minimum of -0.779 eV at 0.50 A") for flag in curve.flags)


def test_a_force_that_is_no_derivative_is_flagged():
    curve = dimer_curve(("Si", "Si"), Pair(morse, lambda r: 1.01 * morse_slope(r)), longest=6.0)
    assert [flag.split(":")[0] for flag in curve.flags] == ["force is not -dE/dr"]


def test_a_sharp_bend_is_no_wrong_force():
    def bend(r):
        return morse(r) + 1e-6 * np.sin(r / 1e-5)

    curve = dimer_curve(("Si", "Si"), Pair(bend, lambda r: morse_slope(r) + 0.1 * np.cos(r / 1e-5)), longest=6.0)
    assert curve.flags == ()


def test_a_jump_is_flagged_where_it_is():
    step = Pair(lambda r: morse(r) + 0.3 * (r < 2.345), morse_slope)
    (flag,) = dimer_curve(("Si", "Si"), step, longest=6.0).flags
    assert flag == "jump: the energy changes by -0.3 eV at once at 2.345 A"


def test_a_curve_that_ends_above_zero_is_flagged():
    (flag,) = dimer_curve(("Si", "Si"), Pair(morse, morse_slope), longest=4.0).flags
    assert flag.startswith("no end: -0.067")


def test_zbl_keeps_atoms_apart():
    """The same drawn network with and without: it is ZBL that pushes."""
    pair = ("Si", "Si")
    models = (nequip(torch.float64, {"zbl": zbl}, l_max=1) for zbl in (False, True))
    bare, kept = (dimer_curve(pair, Calculator(model), longest=4.0, step=0.1) for model in models)
    short = bare.distances_a <= bare.contact_a
    assert not (bare.forces_ev_per_a[short] > 0).all()
    assert any(flag.startswith("not repulsive") for flag in bare.flags)
    assert (kept.forces_ev_per_a[short] > 0).all()
    assert kept.flags == ()
    assert kept.energies_ev[0] > 400  # 14.4 * 14 * 14 / 0.5 eV, screened to a tenth
    for curve in (bare, kept):
        assert curve.force_errors_ev_per_a.max() < 1e-3 * max(1, abs(curve.forces_ev_per_a).max())


def test_pairs_are_made_once():
    assert pairs_of(["Si", "O", "Si"]) == [("Si", "Si"), ("Si", "O"), ("O", "O")]
    with pytest.raises(InputError, match="'Xx' is no chemical symbol"):
        pairs_of(["Si", "Xx"])


@pytest.mark.parametrize("distances", [(5.0, 6.0, 0.1), (5.0, 0.0, 0.1), (5.0, 0.5, 0.0), (5.0, 0.5, 9.0)])
def test_distances_that_make_no_sense(distances):
    with pytest.raises(InputError, match="make no sense"):
        dimer_curve(("Ar", "Ar"), ARGON, *distances)


def test_copper_resists(copper):
    seen = []
    scan = volume_scan(copper, EMT(), 0.6, 1.6, 41, seen.append)
    assert scan.flags == ()
    assert scan.minimum == pytest.approx(1, abs=0.02)
    assert seen[-1] == 41
    slopes = np.gradient(scan.energies_ev_per_atom, scan.volumes_per_atom_a3)
    np.testing.assert_allclose(scan.pressures_gpa[5:-5], -slopes[5:-5] * 160.2177, atol=1.5)


def uniform(copper, extra=lambda v: 0.0, extra_slope=lambda v: 0.0):
    """A well at copper's own volume, and something else."""
    own = copper.get_volume() / len(copper)

    def energy(v):
        return (own / v) ** 2 - 2 * own / v + extra(v / own)

    def slope(v):
        return -2 * own**2 / v**3 + 2 * own / v**2 + extra_slope(v / own) / own

    return Uniform(energy, slope)


def test_collapse_is_flagged(copper):
    assert volume_scan(copper, uniform(copper)).flags == ()
    falling = uniform(copper, lambda x: -3 * np.exp(-(((x - 0.55) / 0.08) ** 2)), lambda x: 0.0)
    flags = volume_scan(copper, falling).flags
    assert flags[0].startswith("no rise under compression: the energy falls below 0.7")


def test_a_hole_above_the_minimum_is_told_as_such(copper):
    def dip(x):
        return -0.3 * np.exp(-(((x - 0.6) / 0.05) ** 2))

    scan = volume_scan(copper, uniform(copper, dip), points=401)
    volumes = np.linspace(0.55, 0.65, 1001)
    hole = (volumes**-2 - 2 / volumes + dip(volumes)).min() + 1  # -1 is the minimum
    assert hole > 0.1
    assert f"to {hole:+.3g}" in scan.flags[0]
    assert "eV/atom from the minimum at the lowest" in scan.flags[0]


def test_softening_is_flagged(copper):
    soft = uniform(copper, lambda x: 0.5 * x**2 - 1.0 * x, lambda x: 1.0 * x - 1.0)
    assert volume_scan(copper, soft).flags == ()
    peak = uniform(
        copper, lambda x: 0.6 * np.tanh((x - 0.6) / 0.05), lambda x: 0.6 / 0.05 / np.cosh((x - 0.6) / 0.05) ** 2
    )
    assert any(flag.startswith("softens under compression") for flag in volume_scan(copper, peak).flags)


def test_a_jump_under_expansion_is_flagged_where_it_is(copper):
    flags = volume_scan(copper, uniform(copper, lambda x: -0.1 * (x > 1.5))).flags
    assert [flag.split(":")[0] for flag in flags] == ["falls under expansion", "jump"]
    assert "by -0.1 eV/atom at once at 1.500 of the volume" in flags[1]


@pytest.mark.parametrize("volumes", [(1.1, 2.0, 61), (0.5, 0.9, 61), (0.0, 2.0, 61), (0.5, 2.0, 3)])
def test_volumes_that_make_no_sense(copper, volumes):
    with pytest.raises(InputError, match="make no sense"):
        volume_scan(copper, EMT(), *volumes)


def test_figures_show_every_pair(copper):
    curves = [dimer_curve(pair, ARGON, longest=9.0, step=0.5) for pair in pairs_of(["Ar", "Kr"])]
    figure = draw_dimers(curves, "argon")
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["Ar-Ar", "Ar-Kr", "Kr-Kr"]
    scan = volume_scan(copper, EMT(), 0.8, 1.2, 9)
    np.testing.assert_allclose(draw_volumes(scan, "copper").axes[1].lines[0].get_ydata(), scan.pressures_gpa)
