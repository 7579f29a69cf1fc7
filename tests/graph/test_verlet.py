"""A list with a skin gives the graphs of a fresh search, whatever the system does, and searches seldom."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinet.errors import InputError
from equinet.graph import VerletList, build_graph
from tests.graph.structures import pairs_by_brute_force, structures

CUTOFF, SKIN = 5.0, 0.5
OPEN = np.zeros(3, dtype=bool)


def assert_same(found, expected):
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def moved(structure, random):
    """What a simulation does in one step: mostly little, sometimes anything."""
    positions, numbers, cell, pbc, _ = structure
    positions = positions + random.choice([0.002, 0.03, 0.3]) * random.uniform(-1, 1, positions.shape)
    what = random.choice(["atoms", "cell", "jump", "species", "more", "fewer"], p=[0.5, 0.3, 0.05, 0.05, 0.05, 0.05])
    if what == "cell":
        deformation = np.eye(3) + random.choice([0.003, 0.01, 0.1]) * random.uniform(-1, 1, (3, 3))
        cell, positions = cell @ deformation, positions @ deformation
    elif what == "jump":
        positions[random.integers(len(positions))] += (random.integers(-1, 2, 3) * pbc) @ cell
    elif what == "species":
        numbers = random.permutation(numbers + 1)
    elif what == "more":
        positions = np.concatenate([positions, positions.mean(axis=0, keepdims=True) + random.uniform(-1, 1, (1, 3))])
        numbers = np.append(numbers, 6)
    elif what == "fewer" and len(positions) > 2:
        positions, numbers = positions[1:], numbers[1:]
    return structure._replace(positions=positions, numbers=numbers, cell=cell)


@pytest.mark.parametrize("pbc", list(product([True, False], repeat=3)), ids=str)
def test_every_step_has_the_graph_of_a_fresh_search(pbc):
    steps, searches, sure = [], [], []

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(structures(pbc, smallest=2.0), st.sampled_from([0.0, 0.1, 0.5, 1.5]), st.integers(0, 2**32 - 1))
    def check(structure, skin, seed):
        random = np.random.default_rng(seed)
        neighbors = VerletList(structure.cutoff, skin)
        for _ in range(20):
            if pairs_by_brute_force(structure)[1] > 1e-9:  # no pair is at the cutoff itself
                assert_same(neighbors.graph(*structure[:4]), build_graph(*structure))
                sure.append(1)
            structure = moved(structure, random)
        steps.append(20)
        searches.append(neighbors.searches)

    check()
    assert len(sure) > 0.95 * sum(steps)
    assert 0.2 * sum(steps) < sum(searches) < 0.9 * sum(steps)  # both ways are walked


def pair(distance):
    return np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]), [14, 14], np.zeros((3, 3)), OPEN


def test_a_search_serves_until_an_atom_has_moved_by_half_the_skin():
    neighbors = VerletList(CUTOFF, SKIN)
    start = pair(4.0)
    for shift, searches in ((0.0, 1), (0.249, 1), (-0.249, 1), (0.251, 2), (0.4, 2), (0.0, 3)):
        neighbors.graph(start[0] + [[0, shift, 0], [0, 0, 0]], *start[1:])
        assert neighbors.searches == searches
    still = VerletList(CUTOFF, 0.0)
    for _ in range(3):
        still.graph(*start)
    assert still.searches == 1
    still.graph(start[0] + 1e-9, *start[1:])
    assert still.searches == 2


def test_two_atoms_that_meet_are_seen():
    """Each moves by more than half the skin and by less than all of it."""
    neighbors = VerletList(CUTOFF, SKIN)
    assert len(neighbors.graph(*pair(5.6)).senders) == 0
    positions = pair(5.6)[0] + [[0.31, 0, 0], [-0.31, 0, 0]]
    assert len(neighbors.graph(positions, *pair(0)[1:]).senders) == 2


def test_a_cell_that_shrinks():
    """A small change of the cell needs no search; a larger one brings atoms together that do not move within it."""
    scaled, cell, periodic = np.zeros((1, 3)), 5.45 * np.eye(3), ~OPEN
    neighbors = VerletList(CUTOFF, SKIN)
    for factor, searches, edges in ((1.0, 1, 0), (0.98, 1, 0), (0.93, 1, 0), (0.915, 1, 6), (0.5, 2, 26), (1.02, 2, 0)):
        graph = neighbors.graph(scaled @ cell, [14], factor * cell, periodic)
        assert (neighbors.searches, len(graph.senders)) == (searches, edges)
    sheared = cell + [[0, 0, 0], [0.3, 0, 0], [0, 0, 0]]
    neighbors = VerletList(CUTOFF, SKIN)
    neighbors.graph(scaled, [14], cell, periodic)
    neighbors.graph(scaled, [14], sheared, periodic)
    assert neighbors.searches == 1


def test_a_graph_does_not_follow_the_arrays_it_was_made_from():
    positions, numbers, cell, pbc = pair(4.0)
    graph = VerletList(CUTOFF, SKIN).graph(positions, numbers, cell, pbc)
    positions += 1.0
    cell += 1.0
    assert float(graph.positions[0, 0]) == 0.0
    assert float(graph.cell[0, 0, 0]) == 0.0


def test_what_makes_no_sense_is_refused_at_any_step():
    start = pair(0.3)
    neighbors = VerletList(CUTOFF, 1.0)
    neighbors.graph(*start)
    with pytest.raises(InputError, match="atom 1 is not finite"):
        neighbors.graph([[0, 0, 0], [np.nan, 0, 0]], *start[1:])
    with pytest.raises(InputError, match="atoms 0 and 1 are at one place"):
        neighbors.graph(np.zeros((2, 3)), *start[1:])
    with pytest.raises(InputError, match="cell is not finite"):
        neighbors.graph(*start[:2], np.full((3, 3), np.nan), OPEN)
    with pytest.raises(InputError, match=r"numbers \[N\]"):
        neighbors.graph(start[0], [14], *start[2:])
    with pytest.raises(InputError, match="no finite, non-zero cell vector"):
        neighbors.graph(*start[:3], ~OPEN)
    assert len(neighbors.graph(*start).senders) == 2
    for skin in (-0.1, np.nan, np.inf):
        with pytest.raises(InputError, match="skin"):
            VerletList(CUTOFF, skin)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    random = np.random.default_rng(0)
    cell, positions = 8.0 * np.eye(3), random.uniform(0, 8, (30, 3))
    neighbors = VerletList(CUTOFF, SKIN, "cuda")
    for _ in range(5):
        graph = neighbors.graph(positions, [14] * 30, cell, ~OPEN)
        assert graph.senders.is_cuda
        assert_same([tensor.cpu() for tensor in graph], build_graph(positions, [14] * 30, cell, ~OPEN, CUTOFF))
        positions = positions + 0.05 * random.standard_normal(positions.shape)
