"""Phonons against phonopy driven by hand, a chain that is solved on paper, and the Hessian."""

import sys
import warnings

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equinet.data import graph_from_atoms
from equinet.errors import DataWarning, InputError
from equinet.simulate import Calculator
from equinet.simulate.properties.phonons.calculation import phonons
from equinet.simulate.properties.phonons.report import phonons_figure, write_phonons
from equinet.simulate.properties.phonons.result import PhononSettings
from equinet.simulate.properties.phonons.supercell import growing_supercells, standing
from tests.simulate.conftest import small_potential

phonopy = pytest.importorskip("phonopy", reason="phonopy is an extra")

COPPER = 3.5898  # Angstrom, EMT's lattice constant
ALUMINIUM = 3.9945
DIAMOND = 5.7  # no shell of neighbours at the small potential's cutoff, where displacements would cross it


def quiet(atoms, calculator, **settings):
    """Phonons of a structure that may be no minimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return phonons(atoms, calculator, PhononSettings(**settings))


@pytest.fixture(scope="module")
def copper():
    """Of the primitive cell, grown."""
    return phonons(bulk("Cu", a=COPPER), EMT())


@pytest.fixture(scope="module")
def small_copper():
    """Of the primitive cell, in the first supercell."""
    return quiet(bulk("Cu", a=COPPER), EMT(), max_atoms=110)


@pytest.fixture(scope="module")
def alloy():
    """Two elements, four atoms."""
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    atoms = Atoms("AuCu3", cell=[3.72] * 3, scaled_positions=sites, pbc=True)
    return phonons(atoms, EMT(), PhononSettings(supercell=(2, 2, 2), mesh_length_angstrom=30.0))


@pytest.mark.parametrize(
    ("atoms", "repeats"),
    [
        (bulk("Cu", a=COPPER), (4, 4, 4)),
        (bulk("Al", a=ALUMINIUM, cubic=True), (2, 2, 2)),
        (bulk("Cu", "bcc", a=2.85, cubic=True), (3, 3, 3)),
    ],
    ids=["primitive copper", "cubic aluminium", "unstable copper"],
)
def test_equal_to_phonopy_driven_by_hand(atoms, repeats, request):
    found = quiet(atoms, EMT(), supercell=repeats)

    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(), cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions()
    )
    primitive = {"primitive copper": "P", "cubic aluminium": "F", "unstable copper": "I"}[request.node.callspec.id]
    by_hand = phonopy.Phonopy(cell, np.diag(repeats), primitive_matrix=primitive)
    by_hand.generate_displacements(distance=0.01)
    forces = []
    for displaced in by_hand.supercells_with_displacements:
        supercell = Atoms(
            displaced.symbols, cell=displaced.cell, positions=displaced.positions, pbc=True, calculator=EMT()
        )
        forces.append(supercell.get_forces())
    by_hand.forces = forces
    by_hand.produce_force_constants()
    by_hand.symmetrize_force_constants()
    by_hand.run_qpoints(found.bands.q_points)
    expected = by_hand.qpoints.frequencies
    assert expected.max() > 5
    np.testing.assert_allclose(found.bands.frequencies_thz, expected, rtol=0, atol=1e-6)
    assert len(found.elements) == len(by_hand.primitive) == 1
    assert found.supercells[0].atoms == len(atoms) * np.prod(repeats)
    assert found.converged is None


def test_a_chain_as_on_paper():
    # nearest neighbours alone: omega = 2 sqrt(k / m) |sin(q a / 2)| along the chain, nothing across it
    sigma, epsilon = 3.0, 0.05
    spacing = 2 ** (1 / 6) * sigma
    atoms = Atoms("Ar", cell=[0, spacing, 0], pbc=(False, True, False))  # the second vector: axes are turned
    calculator = LennardJones(sigma=sigma, epsilon=epsilon, rc=1.5 * spacing)
    found = quiet(atoms, calculator, displacement_angstrom=1e-3)
    stiffness = 72 * epsilon / spacing**2
    highest = 2 * np.sqrt(stiffness / atoms.get_masses()[0]) * units.s * 1e-12 / (2 * np.pi)
    expected = highest * abs(np.sin(np.pi * found.bands.q_points[:, 0]))
    np.testing.assert_allclose(found.bands.frequencies_thz[:, 2], expected, rtol=0, atol=1e-5 * highest)
    assert abs(found.bands.frequencies_thz[:, :2]).max() < 1e-3 * highest
    assert found.bands.labels == ("Γ", "X")
    assert found.density.mesh[1:] == (1, 1)
    assert [step.matrix.diagonal().tolist()[1:] for step in found.supercells] == [[1, 1]] * len(found.supercells)


def test_a_slab_stays_two_dimensional():
    slab = fcc111("Cu", (1, 1, 2), a=COPPER, periodic=False)
    found = quiet(slab, EMT(), supercell=(3, 3, 1))
    assert found.bands.labels == ("Γ", "M", "K", "Γ")
    assert not found.bands.q_points[:, 2].any()
    assert found.density.mesh[2] == 1
    assert len(found.elements) == 2
    turned = slab.copy()  # the same slab across another axis
    turned.set_cell(slab.cell.complete()[[2, 0, 1]])
    turned.pbc = (False, True, True)
    again = quiet(turned, EMT(), supercell=(1, 3, 3))
    np.testing.assert_allclose(again.gamma_thz, found.gamma_thz, atol=1e-4)
    np.testing.assert_allclose(again.bands.frequencies_thz.max(), found.bands.frequencies_thz.max(), atol=1e-4)


@pytest.mark.parametrize("change", ["left-handed", "turned", "moved", "cubic", "held"])
def test_the_same_crystal_described_otherwise(small_copper, change):
    atoms = bulk("Cu", a=COPPER, cubic=change == "cubic")
    if change == "left-handed":
        atoms.set_cell(atoms.cell[[1, 0, 2]])
    elif change == "turned":
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    elif change == "moved":
        atoms.positions += [0.3, -8.0, 11.0]
    elif change == "held":
        from ase.constraints import FixAtoms

        atoms.set_constraint(FixAtoms([0]))
    found = quiet(atoms, EMT(), max_atoms=110)
    assert found.supercells[-1].atoms == 108
    assert found.bands.labels == small_copper.bands.labels
    assert found.space_group == "Fm-3m"
    np.testing.assert_allclose(found.bands.frequencies_thz, small_copper.bands.frequencies_thz, atol=1e-4)


def test_the_supercell_grows_until_the_bands_stay(copper, small_copper):
    first, last = copper.supercells
    assert (first.atoms, last.atoms) == (108, 256)  # of rounded, conventional cells of four atoms
    assert first.band_change_thz is None
    assert last.band_change_thz < 0.05
    assert copper.converged
    # what it says it changed by, it changed by
    change = np.abs(small_copper.bands.frequencies_thz - copper.bands.frequencies_thz).max()
    assert change == pytest.approx(last.band_change_thz, rel=1e-6)


def test_supercells_grow_in_periodic_directions_and_stay_round():
    settings = PhononSettings(max_atoms=600)
    for atoms in (bulk("Cu", a=3.6), bulk("Mg"), bulk("Cu", "bcc", a=2.85), fcc111("Cu", (1, 1, 3), a=3.6)):
        stood = standing(atoms)
        sizes = []
        for rows in growing_supercells(stood, settings):
            cell = rows @ stood.cell.array
            heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
            assert heights[stood.pbc].min() >= 8.0
            assert heights[stood.pbc].max() <= 2 * heights[stood.pbc].min()
            assert (rows[~stood.pbc] == np.eye(3)[~stood.pbc]).all()
            sizes.append(len(atoms) * round(np.linalg.det(rows)))
        assert len(sizes) > 1
        assert sizes == sorted(set(sizes))
        assert sizes[-1] <= 600


def test_a_supercell_that_does_not_suffice_is_said():
    atoms = bulk("Cu", "bcc", a=2.85)
    with pytest.warns(DataWarning) as caught:
        found = phonons(atoms, EMT(), PhononSettings(max_atoms=130))
    said = [str(each.message) for each in caught if "bands" in str(each.message)]
    assert found.converged is False
    assert said == [
        f"the bands change by {found.supercells[-1].band_change_thz:.3f} THz, above 0.05, at the supercell of 128 "
        "atoms; the next has more than 130: raise --max-atoms"
    ]
    with pytest.warns(DataWarning, match="were not compared"):
        assert phonons(bulk("Cu", a=COPPER), EMT(), PhononSettings(max_atoms=110)).converged is False


def test_a_supercell_that_breaks_the_symmetry_is_said():
    with pytest.warns(DataWarning, match="a supercell that has less symmetry than the crystal"):
        found = phonons(bulk("Cu", a=COPPER, cubic=True), EMT(), PhononSettings(supercell=(3, 2, 2)))
    assert len(found.phonopy.symmetry.pointgroup_operations) == 16  # of 48


def test_imaginary_modes_are_flagged():
    with pytest.warns(DataWarning, match=r"imaginary modes.*-1\.\d\d THz at q = \(.*\), N"):
        found = phonons(bulk("Cu", "bcc", a=2.85), EMT(), PhononSettings(supercell=(4, 4, 4)))
    lowest = found.imaginary[0]
    assert lowest.where == "N"
    assert lowest.frequency_thz == pytest.approx(found.bands.frequencies_thz.min(), abs=1e-9)
    assert sorted(abs(lowest.q_point).round(6).tolist()) == [0, 0, 0.5]
    assert found.thermal is None
    figure = phonons_figure(found)
    bands = figure.axes[0]
    assert bands.get_ylim()[0] < lowest.frequency_thz
    assert [text.get_text() for text in bands.texts] == [f"imaginary: {lowest.frequency_thz:.2f} THz at N"]
    assert bands.get_ylabel().endswith("(imaginary below zero)")


def test_an_imaginary_mode_off_the_path_is_found_on_the_mesh():
    with pytest.warns(DataWarning, match="mesh"):
        found = phonons(bulk("Cu", "bcc", a=2.85), EMT(), PhononSettings(supercell=(4, 4, 4), path="GH"))
    assert [mode.where for mode in found.imaginary] == ["mesh"]
    assert found.imaginary[0].frequency_thz < -1


def test_a_stable_crystal_has_no_imaginary_modes_and_obeys_the_sum_rule(copper, alloy):
    for found in (copper, alloy):
        assert found.imaginary == ()
        assert abs(found.gamma_thz[:3]).max() < 1e-5
        assert phonons_figure(found).axes[0].get_ylim()[0] == 0
    # displacements of four atoms, whose forces are not quite harmonic
    assert 1e-5 < alloy.acoustic_sum_rule.residual_ev_per_angstrom2 < 0.05
    assert 1e-5 < abs(alloy.acoustic_sum_rule.gamma_thz).max() < 0.05
    full = alloy.phonopy.replicate()
    full.dataset = alloy.phonopy.dataset
    full.produce_force_constants()
    drifts = [abs(full.force_constants.sum(axis=axis)).max() for axis in (0, 1)]
    assert alloy.acoustic_sum_rule.residual_ev_per_angstrom2 == pytest.approx(max(drifts), rel=1e-6)


def test_density_of_states_counts_modes(copper, alloy):
    for found in (copper, alloy):
        density = found.density
        modes = np.trapezoid(density.total_per_thz, density.frequency_thz)
        assert modes == pytest.approx(3 * len(found.elements), rel=0.01)
        np.testing.assert_allclose(sum(density.by_element_per_thz.values()), density.total_per_thz)
    gold, coppers = alloy.density.by_element_per_thz.values()
    assert np.trapezoid(gold, alloy.density.frequency_thz) == pytest.approx(3, rel=0.02)
    mean = [np.average(alloy.density.frequency_thz, weights=each) for each in (gold, coppers)]
    assert mean[0] < mean[1]  # heavy atoms move slowly


def test_thermodynamics(copper, alloy):
    for found in (copper, alloy):
        thermal, density = found.thermal, found.density
        kelvin = thermal.temperature_k
        gas_constant = units.kB * units.mol / units.J
        assert thermal.heat_capacity_j_per_k_mol[-1] == pytest.approx(3 * gas_constant, rel=0.02)
        assert thermal.free_energy_ev_per_atom[0] == thermal.zero_point_energy_ev_per_atom
        half = 0.5e12 * 2 * np.pi * units._hbar * units.J * density.frequency_thz
        zero_point = np.trapezoid(half * density.total_per_thz, density.frequency_thz) / len(found.elements)
        assert thermal.zero_point_energy_ev_per_atom == pytest.approx(zero_point, rel=0.01)
        slope = -np.gradient(thermal.free_energy_ev_per_atom, kelvin)[10:-1] * units.mol / units.J
        np.testing.assert_allclose(thermal.entropy_j_per_k_mol[10:-1], slope, rtol=2e-3)


def test_the_hessian_gives_what_displacements_approach():
    calculator = Calculator(small_potential())
    atoms = bulk("Si", a=DIAMOND)
    atoms.numbers[1] = 6
    coarse = {"supercell": (2, 2, 2), "mesh_length_angstrom": 15.0}
    differences = []
    for distance in (0.02, 0.01):
        found = quiet(atoms, calculator, method="hessian", displacement_angstrom=distance, **coarse)
        differences.append(found.hessian_comparison)
    rough, fine = (each.largest_force_constant_difference_ev_per_angstrom2 for each in differences)
    assert rough / fine == pytest.approx(4, rel=0.05)  # central differences: the error is of second order
    assert found.acoustic_sum_rule.residual_ev_per_angstrom2 < 1e-10
    assert found.supercells[0].displaced == 0
    tiny = quiet(atoms, calculator, displacement_angstrom=2e-4, **coarse)
    scale = abs(found.bands.frequencies_thz).max()
    np.testing.assert_allclose(tiny.phonopy.force_constants, found.phonopy.force_constants, atol=1e-5)
    squares = [np.sign(f) * f**2 for f in (tiny.bands.frequencies_thz, found.bands.frequencies_thz)]
    np.testing.assert_allclose(*squares, atol=1e-5 * scale**2)  # squares: a root magnifies noise at zero


def test_rows_of_a_hessian():
    potential = small_potential()
    atoms = bulk("Si", a=DIAMOND, cubic=True)
    atoms.rattle(0.1, seed=0)
    graph = graph_from_atoms(atoms, potential.cutoff)
    full = potential.hessian(graph).reshape(8, 3, 24)
    np.testing.assert_array_equal(potential.hessian(graph, atoms=[5, 2]), full[[5, 2]].reshape(6, 24))


def test_what_is_written_can_be_read(alloy, tmp_path):
    paths = write_phonons(tmp_path, alloy, {"some": "settings"}, "AuCu$_3$")
    assert [path.name for path in paths] == ["phonons.json", "phonons.png", "phonopy_params.yaml"]
    import json

    content = json.loads(paths[0].read_text())
    assert "phonopy" not in content["results"]
    np.testing.assert_allclose(content["results"]["bands"]["frequencies_thz"], alloy.bands.frequencies_thz)
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    again = phonopy.load(paths[2], log_level=0)
    again.run_qpoints(alloy.bands.q_points)
    np.testing.assert_allclose(again.qpoints.frequencies, alloy.bands.frequencies_thz, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"displacement_angstrom": 0.0}, "displacement of 0 A makes no sense"),
        ({"displacement_angstrom": float("nan")}, "displacement of nan A"),
        ({"symmetry_tolerance_angstrom": -1.0}, "tolerance of -1 A"),
        ({"supercell": (2, 0, 2)}, "supercell of 2 x 0 x 2"),
        ({"method": "guess"}, "unknown method 'guess'"),
        ({"max_atoms": 50}, "the smallest supercell, 8 A across, has 108 atoms, more than 50"),
        ({"path": "GXQ"}, "has the point 'Q'; those of this lattice are G, K, L, U, W, X"),
        ({"method": "hessian"}, "only equinet's potentials have an analytic Hessian"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        phonons(bulk("Cu", a=COPPER), EMT(), PhononSettings(**settings))


def test_bad_structures(monkeypatch):
    with pytest.raises(InputError, match="a molecule has normal modes"):
        phonons(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), EMT())
    slab = fcc111("Cu", (1, 1, 2), a=COPPER)
    with pytest.raises(InputError, match="repeats a direction that is not periodic"):
        phonons(slab, EMT(), PhononSettings(supercell=(2, 2, 2)))
    with pytest.raises(InputError, match="phonopy finds no symmetry"):
        phonons(Atoms("Cu2", cell=[3] * 3, pbc=True), EMT())
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(InputError, match=r"pip install 'equinet-mlip\[properties\]'"):
        phonons(bulk("Cu", a=COPPER), EMT())
