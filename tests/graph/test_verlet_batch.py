"""A batch's list gives what a fresh search of each system gives, whatever they do, and searches seldom."""

import numpy as np
import pytest
import torch

from equinet.errors import InputError
from equinet.graph import VerletBatch, build_graph, collate
from tests.graph.test_verlet import assert_same

CUTOFF, SKIN = 4.0, 0.5


def drawn(random, pbc, dense):
    """Positions, numbers and a skewed cell, some left-handed, some atoms outside of it."""
    atoms = random.integers(1, 9)
    size = (12.0 * atoms) ** (1 / 3) if dense else 6.0
    cell = size * (np.eye(3) + random.uniform(-0.3, 0.3, (3, 3)))[random.permutation(3)]
    grid = np.argwhere(np.ones((3, 3, 3)))[random.permutation(27)[:atoms]] / 3.0  # no two atoms meet
    scaled = grid + random.uniform(-0.02, 0.02, (atoms, 3)) + random.integers(-1, 2, (atoms, 3)) * pbc
    cell[~pbc] *= random.integers(0, 2)
    return scaled @ (cell + size * np.diag(~pbc)), random.integers(1, 90, atoms), cell, pbc


def batched(systems):
    """Arguments of VerletBatch.graph."""
    positions, numbers, cells, pbc = zip(*systems, strict=True)
    batch = np.repeat(np.arange(len(systems)), [len(z) for z in numbers])
    return tuple(
        torch.from_numpy(values)
        for values in (np.concatenate(positions), np.concatenate(numbers), np.stack(cells), np.stack(pbc), batch)
    )


def fresh(systems):
    return collate([build_graph(*system, CUTOFF) for system in systems])


def moved(systems, random, what):
    """One step: atoms move, a cell changes, an atom jumps to another image, or a system goes."""
    systems = [(x + random.choice([0.002, 0.05]) * random.uniform(-1, 1, x.shape), z, c, p) for x, z, c, p in systems]
    chosen = random.integers(len(systems))
    positions, numbers, cell, pbc = systems[chosen]
    if what == "cell":
        deformation = np.eye(3) + random.choice([0.003, 0.03]) * random.uniform(-1, 1, (3, 3))
        systems[chosen] = (positions @ deformation, numbers, cell @ deformation, pbc)
    elif what == "jump":
        positions[random.integers(len(positions))] += (random.integers(-1, 2, 3) * pbc) @ cell
    elif what == "go" and len(systems) > 1:
        del systems[chosen]
    return systems


@pytest.mark.parametrize("skin", [0.0, 0.3, 1.0])
def test_every_step_has_the_graphs_of_fresh_searches(skin):
    random = np.random.default_rng(3)
    steps = searches = edges = 0
    for trial in range(24):
        pbc = np.array([trial & 1, trial & 2, trial & 4], dtype=bool)
        mixed = trial >= 16
        systems = [drawn(random, random.random(3) < 0.5 if mixed else pbc, dense=trial % 3 > 0) for _ in range(4)]
        neighbors = VerletBatch(CUTOFF, skin)
        for step in range(12):
            graph = neighbors.graph(*batched(systems))
            assert_same(graph, fresh(systems))
            assert graph.positions.dtype == torch.float64
            what = random.choice(["atoms", "cell", "jump"], p=[0.6, 0.3, 0.1])
            systems = moved(systems, random, "go" if step == 9 else what)
        steps, searches, edges = steps + 12, searches + neighbors.searches, edges + len(graph.senders)
    assert edges > 500
    assert searches == steps if skin == 0.0 else 0.1 * steps < searches < 0.9 * steps


def pairs_of(*distances, side=0.0):
    """Molecules of two atoms (with a side: in a cubic cell)."""
    pbc = np.full(3, side > 0.0)
    return [(np.array([[0.0, 0, 0], [d, 0, 0]]), np.array([14, 14]), side * np.eye(3), pbc) for d in distances]


def test_a_search_serves_until_an_atom_of_any_system_has_moved_by_half_the_skin():
    neighbors = VerletBatch(CUTOFF, SKIN)
    for shift, searches in ((0.0, 1), (0.249, 1), (-0.249, 1), (0.251, 2), (0.4, 2), (0.0, 3)):
        systems = pairs_of(3.0, 3.0, 3.0)
        systems[1][0][1, 1] += shift
        neighbors.graph(*batched(systems))
        assert neighbors.searches == searches
    neighbors.graph(*batched(pairs_of(3.0, 3.0)))
    assert neighbors.searches == 4


@pytest.mark.parametrize("pbc", [(True, True, True), (False, True, False), (True, True, False)], ids=str)
def test_an_atom_that_is_wrapped_into_its_cell_has_not_moved(pbc):
    random, pbc = np.random.default_rng(1), np.array(pbc)
    cell = np.array([[3.5, 0.2, 0.3], [1.0, 3.9, 0.1], [-0.8, 0.7, 3.3]])
    cell[~pbc] *= 0.05  # a small step is a whole vector of an open direction, which is none
    positions = np.array([[0.1, 0.1, 0.1], [1.9, 2.1, 1.8]])
    systems = [(positions, np.array([6, 14]), cell, pbc) for _ in range(2)]
    neighbors = VerletBatch(CUTOFF, SKIN)
    for _ in range(5):
        assert_same(neighbors.graph(*batched(systems)), fresh(systems))
        systems[1] = (positions + (random.integers(-2, 3, (2, 3)) * pbc) @ cell + [[0.12], [0.0]], *systems[1][1:])
    assert neighbors.searches == 1
    systems[1] = (positions + 0.5 * cell[1], *systems[1][1:])
    neighbors.graph(*batched(systems))
    assert neighbors.searches == 2


def test_two_atoms_that_meet_are_seen():
    neighbors = VerletBatch(CUTOFF, SKIN)
    assert len(neighbors.graph(*batched(pairs_of(4.6, 3.0))).senders) == 2
    systems = pairs_of(4.6, 3.0)
    systems[0][0][:, 0] += [0.31, -0.31]
    assert neighbors.graph(*batched(systems)).batch[neighbors.graph(*batched(systems)).senders].tolist() == [0, 0, 1, 1]


def test_cells_that_change():
    """A small change of one cell needs no search; a larger one brings atoms together that do not move within it."""
    neighbors = VerletBatch(CUTOFF, SKIN)
    for factor, searches, edges in ((1.0, 1, 0), (0.98, 1, 0), (0.91, 1, 0), (0.895, 1, 6), (0.5, 2, 26), (1.02, 2, 0)):
        sides = (9.0, 4.45 * factor)
        systems = [(np.zeros((1, 3)), np.array([14]), side * np.eye(3), np.ones(3, bool)) for side in sides]
        graph = neighbors.graph(*batched(systems))
        assert (neighbors.searches, len(graph.senders)) == (searches, edges)


def test_a_graph_does_not_follow_the_tensors_it_was_made_from():
    arguments = batched(pairs_of(3.0))
    graph = VerletBatch(CUTOFF, SKIN).graph(*arguments)
    for values in arguments[:3]:
        values += 1
    assert_same(graph, fresh(pairs_of(3.0)))


def test_float32_and_other_strides_are_read():
    systems = pairs_of(3.0, 2.0, side=6.0)
    positions, numbers, cell, pbc, batch = batched(systems)
    columns = cell.mT.contiguous().to(torch.float32)
    graph = VerletBatch(CUTOFF, SKIN).graph(positions.float(), numbers.int(), columns.mT, pbc, batch.int())
    assert_same(graph, fresh(systems))


def test_what_makes_no_sense_is_refused_at_any_step_and_names_the_system():
    neighbors = VerletBatch(CUTOFF, SKIN)
    good = batched(pairs_of(3.0, 0.2))
    for _ in range(2):
        neighbors.graph(*good)
        positions, numbers, cell, pbc, batch = (values.clone() for values in good)
        with pytest.raises(InputError, match="system 1: atoms 0 and 1 are at one place"):
            neighbors.graph(torch.cat([positions[:2], positions[2:] * 0.0]), numbers, cell, pbc, batch)
        with pytest.raises(InputError, match="system 0: the position of atom 1 is not finite"):
            neighbors.graph(positions.index_fill(0, torch.tensor([1]), np.nan), numbers, cell, pbc, batch)
        with pytest.raises(InputError, match="system 0: the cell is not finite"):
            neighbors.graph(positions, numbers, cell + np.nan, pbc, batch)
        with pytest.raises(InputError, match="system 1: periodic direction a has no"):
            neighbors.graph(positions, numbers, cell, torch.tensor([[False] * 3, [True] * 3]), batch)
        with pytest.raises(InputError, match="system 1: a structure has no atoms"):
            neighbors.graph(positions + 5.0 * batch[:, None], numbers, cell, pbc, batch * 0)
        with pytest.raises(InputError, match="ascending order"):
            neighbors.graph(positions, numbers, cell, pbc, batch.flip(0))
        with pytest.raises(InputError, match="from 0 to 1"):
            neighbors.graph(positions, numbers, cell, pbc, batch + 1)
        with pytest.raises(InputError, match=r"numbers and batch \[N\]"):
            neighbors.graph(positions, numbers[:3], cell, pbc, batch)
    with pytest.raises(InputError, match="skin"):
        VerletBatch(CUTOFF, -0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    random = np.random.default_rng(0)
    systems = [drawn(random, np.ones(3, bool), dense=True) for _ in range(4)]
    neighbors = VerletBatch(CUTOFF, SKIN, "cuda")
    for _ in range(8):
        graph = neighbors.graph(*(values.to("cuda") for values in batched(systems)))
        assert graph.senders.is_cuda
        assert_same([values.cpu() for values in graph], fresh(systems))
        systems = moved(systems, random, "cell")
