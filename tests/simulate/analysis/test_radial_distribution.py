from itertools import product

import numpy as np
import pytest
from ase.build import bulk

from equinet.errors import InputError
from equinet.simulate.analysis.radial_distribution import draw_radial_distribution, radial_distribution
from tests.simulate.analysis.frames import frame

TRICLINIC = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 1.5, 7.0]])


def ideal_gas(frames, counts=(60, 40), cell=TRICLINIC, seed=0):
    rng = np.random.default_rng(seed)
    numbers = np.repeat([8, 14], counts)
    for number in range(frames):
        box = cell * rng.uniform(0.95, 1.05)  # a cell that breathes
        yield frame(rng.random((sum(counts), 3)) @ box, box, number, numbers)


def test_an_ideal_gas_is_flat_in_every_pair_within_its_errors():
    found = radial_distribution(ideal_gas(200), cutoff=3.0, bin_width=0.25)
    self_excluded = {("O", "O"): 1 - 1 / 60, ("Si", "Si"): 1 - 1 / 40, ("all", "all"): 1 - 1 / 100}
    assert {each.pair for each in found.pairs} == {("O", "Si"), ("Si", "O"), *self_excluded}
    for each in found.pairs:
        misses = (each.g - self_excluded.get(each.pair, 1.0)) / each.g_error
        assert 0.5 < np.sqrt(np.mean(misses[2:] ** 2)) < 1.7
        assert each.g[4:] == pytest.approx(self_excluded.get(each.pair, 1.0), abs=0.05)
    weights = {("O", "O"): 0.36, ("O", "Si"): 0.24, ("Si", "O"): 0.24, ("Si", "Si"): 0.16}
    total = sum(weight * found.of(*pair).g for pair, weight in weights.items())
    np.testing.assert_allclose(found.of("all", "all").g, total, rtol=1e-9)
    np.testing.assert_allclose(found.of("O", "Si").g, found.of("Si", "O").g, rtol=1e-9)


@pytest.mark.parametrize("repeat", [1, 3])
def test_shells_of_fcc_also_where_the_neighbours_are_images_of_the_atom_itself(repeat):
    atoms = bulk("Cu", a=4.0) * (repeat, repeat, repeat)
    found = radial_distribution([frame(atoms.positions, atoms.cell.array)] * 4, cutoff=5.5)
    everything = found.pairs[0]
    for shell, (distance, count) in enumerate([(2.83, 12), (4.0, 18), (4.90, 42)]):
        edge = distance + 0.2
        bin_of = round(edge / found.bin_width_angstrom) - 1
        assert everything.neighbors[bin_of] == pytest.approx(count), shell
    assert everything.coordination_number == pytest.approx(12)
    assert everything.coordination_number_error == 0.0
    assert everything.first_peak_angstrom == pytest.approx(4 / np.sqrt(2), abs=0.03)
    assert 2.9 < everything.first_minimum_angstrom < 3.9
    assert found.half_cell_angstrom == pytest.approx(repeat * 4 / np.sqrt(3) / 2)


def test_distances_equal_those_over_explicit_images():
    gas = list(ideal_gas(3, (4, 2)))
    cutoff, bins = 11.0, 110  # far beyond half the cell
    found = radial_distribution(gas, cutoff, cutoff / bins)
    assert found.half_cell_angstrom < 4
    expected = {pair: np.zeros(bins) for pair in product((8, 14), repeat=2)}
    expected_g = {pair: np.zeros(bins) for pair in expected}
    edges = np.linspace(0, cutoff, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    for each in gas:
        images = np.array(list(product(range(-4, 5), repeat=3))) @ each.cell
        for i, j in product(range(6), repeat=2):
            distances = np.linalg.norm(each.positions[j] + images - each.positions[i], axis=1)
            counts = np.histogram(distances[distances > 1e-9], edges)[0] / 3
            pair = int(each.numbers[i]), int(each.numbers[j])
            n_center, n_neighbor = ((each.numbers == number).sum() for number in pair)
            expected[pair] += counts / n_center
            expected_g[pair] += counts / n_center / n_neighbor * abs(np.linalg.det(each.cell)) / shells
    for (a, b), counts in expected.items():
        name = {8: "O", 14: "Si"}
        pair = found.of(name[a], name[b])
        np.testing.assert_allclose(pair.neighbors, np.cumsum(counts), atol=1e-9)
        np.testing.assert_allclose(pair.g, expected_g[a, b], atol=1e-9)


def test_error_bars_hold_for_slow_structure():
    """Frames that come in runs of eight alike: the error is that of the runs."""
    rng = np.random.default_rng(1)
    base = np.diag([6.0, 6.0, 6.0])
    misses = []
    for _ in range(15):
        gas = [frame(rng.random((8, 3)) * 6, base) for _ in range(40)]
        found = radial_distribution([each for each in gas for _ in range(8)], cutoff=3.0, bin_width=1.0).pairs[0]
        misses.append((found.g - 7 / 8) / found.g_error)
    assert 0.8 < np.sqrt(np.mean(np.square(misses))) < 1.3


def test_a_cluster_has_distances_and_no_g():
    atoms = bulk("Cu", a=4.0, cubic=True)
    found = radial_distribution([frame(atoms.positions, pbc=False)] * 3, cutoff=6.0)
    each = found.pairs[0]
    assert each.g is None
    assert found.mean_volume_angstrom3 is None
    assert found.half_cell_angstrom is None
    assert np.sum(each.neighbors_per_angstrom) * found.bin_width_angstrom == pytest.approx(3)
    slab = radial_distribution([frame(atoms.positions, atoms.cell.array, pbc=[True, True, False])] * 3, cutoff=6.0)
    assert slab.pairs[0].g is None
    assert slab.half_cell_angstrom == pytest.approx(2.0)
    draw_radial_distribution(found)
    draw_radial_distribution(slab)


@pytest.mark.parametrize("settings", [{"cutoff": -1.0}, {"bin_width": 0.0}, {"cutoff": 0.01}, {"cutoff": float("nan")}])
def test_bad_settings(settings):
    with pytest.raises(InputError, match="makes no sense"):
        radial_distribution([], **settings)
