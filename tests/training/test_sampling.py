"""Plans of epochs: nothing lost, nothing twice, within the budget, the same everywhere; and loaders that go on."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equinet.data import Columns
from equinet.errors import InputError
from equinet.training.sampling import BatchLoader, Budget, EpochBatches, Planner, Share, Turns


def columns_with(atoms, has_energy, has_forces, has_stress):
    size = len(atoms)
    return Columns(
        atoms=np.asarray(atoms),
        energies=np.zeros(size),
        has_energy=has_energy,
        has_forces=has_forces,
        has_stress=has_stress,
        has_virial=has_stress,
        is_isolated_atom=np.zeros(size, dtype=bool),
        dataset=np.full(size, "", dtype=object),
    )


def planner_of(atoms, /, edges_of=None, seed=0, **budget):
    atoms = np.asarray(atoms)
    flags = np.arange(len(atoms))
    columns = columns_with(atoms, flags % 2 == 0, flags % 3 > 0, flags % 5 == 0)
    return Planner(columns, np.asarray(edges_of if edges_of is not None else atoms * 10), Budget(**budget), seed)


def batches_of(planner, epoch, processes=1, **options):
    """[step][process] -> frames that count."""
    epochs = [EpochBatches(planner, epoch, processes, process, **options) for process in range(processes)]
    return [
        [batch.frames.tolist() if batch.counts else [] for batch in step]
        for step in zip(*map(list, epochs), strict=True)  # as many steps for each process
    ]


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def test_what_is_left_for_the_last_step_is_shared_within_every_budget():
    """Five light frames and two heavy ones for three processes: even loads alone would give one of them five frames."""
    planner = planner_of([1, 1, 1, 1, 1, 5, 5], seed=0, edges=900, structures=4)
    (step,) = batches_of(planner, 0, 3)
    assert max(map(len, step)) <= 4


@settings(max_examples=200, deadline=None)
@given(atoms=SIZES, processes=st.integers(1, 4), seed=st.integers(0, 9), epoch=st.integers(0, 3), data=st.data())
def test_every_frame_once_and_within_the_budget(atoms, processes, seed, epoch, data):
    budget = data.draw(
        st.sampled_from(
            [
                {"structures": 3},
                {"atoms": 50},
                {"edges": 400},
                {"edges": 900, "structures": 4},
                {"atoms": 60, "edges": 500},
            ]
        )
    )
    planner = planner_of(atoms, seed=seed, **budget)
    steps = batches_of(planner, epoch, processes)
    assert sorted(frame for step in steps for batch in step for frame in batch) == list(range(len(atoms)))
    for step in steps:
        for batch in step:
            assert len(batch) <= budget.get("structures", len(atoms))
            assert sum(atoms[frame] for frame in batch) <= budget.get("atoms", 10**9)
            assert sum(10 * atoms[frame] for frame in batch) <= budget.get("edges", 10**9)
        assert any(step)
    assert steps == batches_of(planner_of(atoms, seed=seed, **budget), epoch, processes)


def test_the_order_depends_on_seed_and_epoch():
    plans = {str(batches_of(planner_of([4] * 20, seed=s, structures=3), e)) for s in range(3) for e in range(3)}
    plans |= {str(batches_of(planner_of(range(1, 21), seed=s, atoms=40), e)) for s in range(3) for e in range(3)}
    assert len(plans) == 18


def test_budgets_are_filled_and_shared_evenly():
    """Structures of very different sizes, 2000 of them: batches nearly full, processes nearly equal."""
    atoms = np.random.default_rng(0).geometric(0.05, 2000).clip(1, 200)
    planner = Planner(columns_with(atoms, *[np.ones(2000, dtype=bool)] * 3), atoms * 30, Budget(edges=12_000), 0)
    steps = batches_of(planner, 0, 4)
    loads = np.array([[atoms[batch].sum() * 30 for batch in step] for step in steps])
    assert loads.mean() > 0.95 * 12_000
    assert (loads.max(axis=1) - loads.min(axis=1))[:-1].mean() < 0.01 * 12_000


def test_counts_are_shared_evenly_by_edges():
    edges = np.random.default_rng(1).integers(10, 1000, 64)
    steps = batches_of(planner_of([5] * 64, edges_of=edges, structures=8), 0, 2)
    assert all(len(batch) == 8 for step in steps for batch in step)
    loads = np.array([[edges[batch].sum() for batch in step] for step in steps])
    order = np.random.default_rng((0, 0)).permutation(64).reshape(4, 2, 8)
    naive = edges[order].sum(axis=2)
    assert np.ptp(loads, axis=1).mean() < 0.25 * np.ptp(naive, axis=1).mean()


@pytest.mark.parametrize("budget", [{"structures": 4}, {"edges": 500}])
def test_two_processes_meet_what_one_meets(budget):
    """By count, a step of two processes is a step of one with twice the batch."""
    atoms = np.random.default_rng(2).integers(2, 30, 41)
    two = batches_of(planner_of(atoms, **budget), 1, 2)
    if "structures" in budget:
        one = batches_of(planner_of(atoms, structures=8), 1)
        assert [sorted(chain(*step)) for step in two] == [sorted(step[0]) for step in one]
    else:
        assert sorted(chain(*chain(*two))) == list(range(41))


def test_a_process_without_frames_has_a_batch_that_does_not_count():
    planner = planner_of([3] * 5, structures=2)
    last = [list(EpochBatches(planner, 0, 4, process))[-1] for process in range(4)]
    assert sum(len(batch.frames) for batch in last if batch.counts) == 5
    for batch in last:
        assert len(batch.frames) >= 1
        assert (batch.totals == planner.sizes.label_counts().sum(axis=0)).all()
    assert [batch.counts for batch in last].count(False) == 0  # five frames are enough for four
    alone = [EpochBatches(planner_of([3] * 5, structures=4), 0, 2, process)[0] for process in range(2)]
    assert all(batch.counts for batch in alone)
    single = [EpochBatches(planner_of([3], structures=4), 0, 2, process)[0] for process in range(2)]
    assert [batch.counts for batch in single] == [True, False]


def test_totals_are_those_of_the_whole_optimiser_step():
    planner = planner_of(range(1, 24), structures=2)
    labels = planner.sizes.label_counts()
    both = [list(EpochBatches(planner, 0, 2, process, accumulate=3)) for process in range(2)]
    for start in range(0, len(both[0]), 3):
        own = [batch for batches in both for batch in batches[start : start + 3]]
        frames = np.concatenate([batch.frames for batch in own if batch.counts])
        for batch in own:
            assert (batch.totals == labels[frames].sum(axis=0)).all()
    short = list(EpochBatches(planner, 0, accumulate=3, limit=4))  # an epoch that ends early: one batch is left over
    assert (short[3].totals == labels[short[3].frames].sum(axis=0)).all()


@settings(max_examples=30, deadline=None)
@given(
    atoms=SIZES, budget=st.sampled_from([{"structures": 2}, {"atoms": 45}]), before=st.integers(1, 3), data=st.data()
)
def test_an_epoch_goes_on_where_it_stopped(atoms, budget, before, data):
    planner = planner_of(atoms, **budget)
    whole = batches_of(planner, 2, before)
    done = data.draw(st.integers(0, len(whole)))
    assert batches_of(planner, 2, before, taken=(Share(before, done),)) == whole[done:]

    now = data.draw(st.integers(1, 3))  # with another number of processes, whatever was not met yet is met once
    rest = batches_of(planner, 2, now, taken=(Share(before, done),))
    met = [frame for step in (*whole[:done], *rest) for batch in step for frame in batch]
    assert sorted(met) == list(range(len(atoms)))
    again = data.draw(st.integers(0, len(rest)))
    last = batches_of(
        planner, 2, 2, taken=(Share(before, done), Share(now, again)) if now != before else (Share(now, done + again),)
    )
    met = [frame for step in (*whole[:done], *rest[:again], *last) for batch in step for frame in batch]
    assert sorted(met) == list(range(len(atoms)))


class Indices:
    """What the loader would build, without building it."""

    def __getitem__(self, planned):
        return planned.frames.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_counts_what_it_handed_out_not_what_was_built_ahead(workers):
    planner = planner_of([4] * 20, structures=3)
    loader = BatchLoader(Indices(), EpochBatches(planner, 5), workers)
    assert len(loader) == 7
    batches = iter(loader)
    first = [next(batches) for _ in range(3)]
    assert loader.taken() == (Share(1, 3),)
    rest = BatchLoader(Indices(), EpochBatches(planner, 5, taken=loader.taken()), workers)
    assert len(rest) == 7  # of the whole epoch
    remaining = list(rest)
    assert first + remaining == [step[0] for step in batches_of(planner, 5)]
    assert rest.taken() == (Share(1, 7),)
    del batches


def test_a_structure_larger_than_the_budget_is_named():
    sizes = columns_with(np.array([3, 9]), *[np.ones(2, dtype=bool)] * 3)
    with pytest.raises(InputError, match=r"b\.xyz frame 7 has 90 edges, more than data\.max_edges, which is 80"):
        Planner(sizes, np.array([30, 90]), Budget(edges=80), 0, ["a", "b.xyz frame 7"].__getitem__)


@pytest.mark.parametrize("processes", [1, 2])
def test_frames_that_take_turns(processes):
    """Every epoch meets the others and the next share; all have had their turn before the first comes again."""
    atoms = np.full(30, 4)
    columns = columns_with(atoms, *[np.ones(30, dtype=bool)] * 3)
    planner = Planner(columns, atoms * 10, Budget(structures=3), 0, turns=Turns(10, 5))
    met = [np.sort(planner.plan(epoch, processes).frames) for epoch in range(8)]
    assert all(np.array_equal(frames[:10], np.arange(10)) and len(frames) == 15 for frames in met)
    first, again = (np.sort(np.concatenate([frames[10:] for frames in part])) for part in (met[:4], met[4:]))
    assert np.array_equal(first, np.arange(10, 30))
    assert np.array_equal(first, again)
    taken = planner.plan(1, processes).steps(0, 2)
    rest = planner.plan(1, 1, [Share(processes, 2)]).frames
    assert np.array_equal(np.sort(np.concatenate([taken, rest])), met[1])
