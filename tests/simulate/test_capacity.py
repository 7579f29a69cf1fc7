"""Batches by memory: what is found holds for real batches, and follows the memory there is."""

import pytest
import torch
from ase.build import bulk

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.memory import SLACK, held, peak, there
from equinet.models import NequIPArchitecture, Potential
from equinet.models.capacity import fitting_limits
from equinet.models.inference import BatchLimits, batched, predict_batch
from equinet.simulate import PredictionStream, predict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def potential():
    """Takes kilobytes for an edge."""
    architecture = NequIPArchitecture(cutoff=4.5, layers=2, l_max=2, channels=16, parity="natural", mean_neighbors=28.0)
    return Potential(architecture, species=[6, 14], isolated_energies=[0.0, 0.0], scale=1.0).eval()


def crystals(count, repeat):
    for number in range(count):
        atoms = bulk("Si", cubic=True).repeat(repeat)
        atoms.rattle(0.1, seed=number)
        yield atoms


def within(graphs, limit):
    edges, atoms = sum(len(graph.senders) for graph in graphs), sum(len(graph.numbers) for graph in graphs)
    return edges <= limit.edges and atoms <= limit.atoms


@pytest.mark.own_process
def test_limits_bound_the_peak_and_follow_the_memory(potential, monkeypatch):
    sample = [graph_from_atoms(atoms, potential.cutoff) for atoms in crystals(5, 2)]
    edges, atoms = sum(len(graph.senders) for graph in sample), sum(len(graph.numbers) for graph in sample)
    monkeypatch.setattr("equinet.memory.PATIENCE", float("inf"))  # as many sizes however slow the machine is
    limits, rooms = [], (400e6, 200e6)
    for room in rooms:
        allowed = int(held(CPU) + room)
        # what is free changes while other programs run
        monkeypatch.setattr("equinet.models.capacity.there", lambda device, processes, allowed=allowed: allowed)
        limits.append(fitting_limits(potential, sample, [CPU], fraction=1.0))
    assert limits[1].edges / limits[0].edges == pytest.approx((rooms[1] - SLACK) / (rooms[0] - SLACK), rel=0.1)
    for limit, room in zip(limits, rooms, strict=True):
        assert limit.structures is None
        assert limit.atoms == limit.edges * atoms // edges
        before = held(CPU)
        many = sample * (limit.edges // edges + 2)
        (batch, *_) = batched(many, limit)
        assert within(batch, limit)
        assert not within(many[: len(batch) + 1], limit)
        assert 0.75 * room < peak(CPU, lambda batch=batch: predict_batch(potential, batch)) - before < room


def test_two_workers_share_the_memory_of_a_cpu(potential):
    sample = [graph_from_atoms(atoms, potential.cutoff) for atoms in crystals(5, 2)]
    fraction = (held(CPU) + 300e6) / there(CPU)
    one, two = (fitting_limits(potential, sample, [CPU] * count, fraction) for count in (1, 2))
    assert two.edges < 0.8 * one.edges


def test_a_sample_without_edges_has_the_fixed_limits(potential):
    graph = graph_from_atoms(bulk("Si", cubic=True)[:1], 0.5)
    assert fitting_limits(potential, [graph], [CPU]) == BatchLimits()


class OutOfMemory(Potential):
    """As a GPU answers that is too small."""

    def forward(self, graph, modal=None):
        if len(graph.senders) > 30_000:
            raise torch.OutOfMemoryError
        return super().forward(graph, modal)


def test_memory_that_runs_out_bounds_the_batch_and_is_one_line(potential):
    small = OutOfMemory(potential.architecture, species=[6, 14], isolated_energies=[0.0, 0.0], scale=1.0).eval()
    sample = [graph_from_atoms(atoms, potential.cutoff) for atoms in crystals(5, 2)]
    assert 20_000 <= fitting_limits(small, sample, [CPU]).edges < 40_000
    with pytest.raises(
        InputError, match="a structure with 43904 edges does not fit into the memory of cpu; give a sma"
    ):
        predict(small, [bulk("Si", cubic=True).repeat(7)])


def test_a_stream_measures_on_its_first_structures(potential, monkeypatch):
    """Where they are more than a batch of fixed limits; none of them is lost for that."""
    monkeypatch.setattr("equinet.memory.PATIENCE", 0.0)  # the smallest batch tells enough
    monkeypatch.setattr("equinet.simulate.prediction.SAMPLE", 3)
    stream = PredictionStream(potential, enumerate(crystals(8, 1)), "auto")
    assert stream.limits.structures is None
    assert stream.limits.edges > BatchLimits().edges
    assert [each.key for batch in stream for each in batch] == list(range(8))
