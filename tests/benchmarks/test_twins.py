"""Distances between structures: zero for the same structure however it is written, exact nearest frames."""

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from benchmarks.accuracy.baseline import copy_nearest, superpose, turned_forces
from benchmarks.accuracy.twins import TWIN, composition, describe, distances_differ, nearest_frames
from equinet.data import Record


def record(atoms: Atoms, energy: float | None = None, forces=None) -> Record:
    return Record(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, energy=energy, forces=forces)


def rattled(atoms: Atoms, seed: int, deviation: float = 0.05) -> Atoms:
    copy = atoms.copy()
    copy.rattle(deviation, seed=seed)
    return copy


def silicon() -> Atoms:
    return ase.build.bulk("Si", cubic=True)


def rewritten(atoms: Atoms, seed: int = 5) -> Atoms:
    """The same structure, turned, mirrored, moved, its atoms in another order."""
    generator = np.random.default_rng(seed)
    turn = -Rotation.random(random_state=seed).as_matrix()
    order = generator.permutation(len(atoms))
    return Atoms(
        atoms.numbers[order],
        atoms.positions[order] @ turn.T + generator.normal(size=3),
        cell=atoms.cell.array @ turn.T,
        pbc=atoms.pbc,
    )


@pytest.mark.parametrize(
    "atoms", [rattled(molecule("CH3CH2OH"), 0), rattled(silicon(), 0)], ids=["molecule", "crystal"]
)
def test_a_structure_is_its_own_twin_however_it_is_written(atoms):
    a, b, other = describe([record(atoms), record(rewritten(atoms)), record(rattled(atoms, 7))])
    assert distances_differ(a, b) < 1e-6
    assert distances_differ(a, other) > 3 * TWIN


def test_a_supercell_is_a_twin_of_its_cell_and_symmetric_strains_are_twins():
    cell = silicon()
    found = nearest_frames([record(cell * (2, 1, 1))], [record(rattled(cell, 1)), record(cell)])
    assert found[0].index == 1
    assert found[0].distance < 1e-6
    along_x, along_z = silicon(), silicon()
    along_x.set_cell(along_x.cell * [[1.02], [1], [1]], scale_atoms=True)
    along_z.set_cell(along_z.cell * [[1], [1], [1.02]], scale_atoms=True)
    a, b, unstrained = describe([record(along_x), record(along_z), record(cell)])
    assert distances_differ(a, b) < 1e-6
    assert distances_differ(a, unstrained) > TWIN


def test_which_site_a_species_has_counts():
    chain = ase.build.bulk("W", cubic=True) * (2, 1, 1)
    ordered, mixed = chain.copy(), chain.copy()
    ordered.numbers[:] = [74, 42, 74, 42]
    mixed.numbers[:] = [74, 74, 42, 42]
    a, b = describe([record(ordered), record(mixed)])
    assert distances_differ(a, b) > 10 * TWIN


def test_planted_twins_are_found_among_thermal_frames_and_the_search_is_exact():
    base = silicon()
    train = [record(rattled(base, seed)) for seed in range(12)]
    planted = rewritten(rattled(rattled(base, 4), 99, 0.001))
    test = [record(rattled(base, 50)), record(planted), record(ase.build.bulk("Ge", cubic=True))]
    found = nearest_frames(test, train)
    assert [near.is_twin for near in found] == [False, True, False]
    assert found[1].index == 4
    assert found[2].index is None
    described = describe([test[0], *train])
    brute = [distances_differ(described[0], other) for other in described[1:]]
    assert found[0].distance == pytest.approx(min(brute))
    assert found[0].index == int(np.argmin(brute))


def test_composition_is_reduced():
    assert composition(record(molecule("C2H4"))) == ((1, 2), (6, 1))


def test_copied_forces_turn_with_the_molecule():
    atoms = rattled(molecule("CH3CH2OH"), 3)
    forces = np.random.default_rng(0).normal(size=(len(atoms), 3))
    source = record(atoms, energy=-9.0, forces=forces)
    turn = -Rotation.random(random_state=1).as_matrix()  # mirrored too
    order = np.random.default_rng(1).permutation(len(atoms))
    target = record(
        Atoms(atoms.numbers[order], atoms.positions[order] @ turn.T), energy=-9.0, forces=forces[order] @ turn.T
    )
    np.testing.assert_allclose(turned_forces(source, target), target.forces, atol=1e-10)
    rms, matrix = superpose(atoms.positions, atoms.positions @ turn.T)
    assert rms < 1e-10
    np.testing.assert_allclose(matrix, turn, atol=1e-10)
    predicted, missing = copy_nearest([target], [source], nearest_frames([target], [source]))
    assert missing == 0
    assert predicted[0].energy == -9.0


def test_crystals_are_copied_with_their_energy_per_atom_and_no_forces():
    cell = silicon()
    source = record(cell, energy=-40.0, forces=np.ones((8, 3)))
    target = record(cell * (2, 1, 1), energy=-80.0, forces=np.zeros((16, 3)))
    strange = record(ase.build.bulk("Ge", cubic=True), energy=-30.0, forces=np.zeros((8, 3)))
    predicted, missing = copy_nearest([target, strange], [source], nearest_frames([target, strange], [source]))
    assert missing == 1
    assert predicted[0].energy == pytest.approx(-80.0)
    assert not predicted[0].forces.any()
    assert predicted[1].energy == pytest.approx(-40.0)  # the sum over atoms, from the only energy there is
