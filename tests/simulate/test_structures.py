import numpy as np
import pytest
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from equinet.errors import InputError
from equinet.simulate.structures import BUILDERS, MAX_SPECIES, bulk, molecule, slab, triclinic, wire

SPECIES = {"silicon": [14], "organic": [1, 6, 7, 8], "oxide": [8, 56, 22]}


@pytest.mark.parametrize("species", SPECIES.values(), ids=SPECIES)
@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_distances_are_sensible_and_all_species_present(builder, species):
    for seed in range(3):
        atoms = builder(species, seed)
        assert set(atoms.numbers) == set(species)
        i, j, d = neighbor_list("ijd", atoms, 6.0)
        bonds = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
        assert np.all(d >= np.maximum(0.95 * bonds, 1.0) - 1e-9)
        assert set(i) == set(range(len(atoms)))  # nobody is alone within 6 Angstrom


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_same_seed_same_structure(builder):
    first, again, other = builder([14], 3), builder([14], 3), builder([14], 4)
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.cell.array, again.cell.array)
    assert not np.allclose(first.positions, other.positions)


def test_periodic_directions_and_cells():
    assert bulk([14]).pbc.all()
    assert np.linalg.det(triclinic([14]).cell) < 0
    assert slab([14]).pbc.tolist() == [True, True, False]
    assert slab([14]).cell.rank == 2
    assert wire([14]).pbc.tolist() == [False, True, False]
    assert wire([14]).cell.rank == 3
    assert not molecule([14]).pbc.any()
    assert molecule([14]).cell.rank == 0


def test_many_species_are_thinned_out():
    assert len(set(bulk(range(1, 90), 1).numbers)) == MAX_SPECIES


@pytest.mark.parametrize("species", [[], [0, 14], [300]])
def test_bad_species(species):
    with pytest.raises(InputError, match="atomic numbers"):
        bulk(species)
