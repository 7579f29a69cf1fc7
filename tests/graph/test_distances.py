import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances

from equinet.graph import build_graph, nearest_pair


def graph_of(atoms, cutoff=5.0):
    return build_graph(atoms.positions, atoms.numbers, atoms.cell.array, tuple(atoms.pbc), cutoff)


def test_nearest_pair_agrees_with_ase_over_periodic_boundaries():
    random = np.random.default_rng(1)
    cell = 7.0 * np.eye(3) + random.uniform(-0.8, 0.8, (3, 3))
    atoms = Atoms("SiO2C3", random.uniform(0, 1, (6, 3)) @ cell, cell=cell, pbc=(True, True, False))
    _, distances = get_distances(atoms.positions, cell=cell, pbc=atoms.pbc)
    distances[np.diag_indices(6)] = np.inf
    pair = np.unravel_index(distances.argmin(), distances.shape)
    found = nearest_pair(graph_of(atoms))
    assert found.distance == pytest.approx(distances.min(), abs=1e-12)
    assert found.numbers == tuple(sorted(atoms.numbers[list(pair)].tolist()))


def test_an_atom_is_its_own_image_s_neighbour():
    assert nearest_pair(graph_of(Atoms("Cu", cell=[2.5, 3.0, 3.5], pbc=True))).distance == pytest.approx(2.5)


def test_atoms_beyond_the_cutoff_have_no_nearest_pair():
    assert nearest_pair(graph_of(Atoms("H2", [[0, 0, 0], [0, 0, 6.0]]))) is None
