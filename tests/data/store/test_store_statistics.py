"""Statistics of a store: those of its records; of a large one, those of a sample that has every element."""

import dataclasses

import numpy as np
import pytest

from equinet.data import Store, Subset, build_store, check_stress, compute_statistics, read_records, samples
from equinet.data import statistics as module
from tests.data.frames import record


@pytest.fixture(scope="module")
def silicon_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silicon") / "STORE"
    build_store([samples.path("silicon", "train"), samples.path("glycol", "val")], folder)
    return Store(folder)


def test_statistics_are_those_of_the_records(silicon_store):
    records = [
        r for name, part in (("silicon", "train"), ("glycol", "val")) for r in read_records(samples.path(name, part))
    ]
    ours, theirs = compute_statistics(silicon_store, 4.0), compute_statistics(records, 4.0)
    assert ours == theirs
    assert ours.sampled_frames is None
    part = np.arange(0, len(records), 3)
    assert compute_statistics(Subset(silicon_store, part), 4.0) == compute_statistics([records[i] for i in part], 4.0)


def test_values_are_those_of_whole_arrays(silicon_store):
    """Sums are gathered frame by frame; the textbook formula over all forces at once gives the same."""
    s = compute_statistics(silicon_store, 4.0)
    forces = np.concatenate([r.forces for r in silicon_store if not r.is_isolated_atom and r.forces is not None])
    stresses = np.array([r.stress for r in silicon_store if r.stress is not None])
    assert s.force_rms == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-12)
    assert s.stress_rms == pytest.approx(np.sqrt(np.mean(stresses**2)), rel=1e-12)


def test_a_sample_of_a_large_set(monkeypatch):
    generator = np.random.default_rng(0)
    records = [record("H2", -2.0 + generator.normal() / 10, forces=generator.normal(size=(2, 3))) for _ in range(400)]
    records += [record("He2", -4.0, forces=np.zeros((2, 3))) for _ in range(3)]
    whole = compute_statistics(records, 2.0)
    monkeypatch.setattr(module, "MAXIMUM_FRAMES", 100)
    s = compute_statistics(records, 2.0)
    assert 100 <= s.sampled_frames <= 103
    assert s == compute_statistics(records, 2.0)  # always the same sample
    assert s.species == whole.species == (1, 2)
    counts = ("frames", "atoms", "frames_with_energy", "frames_with_forces", "frames_with_stress", "isolated_frames")
    for name in counts:
        assert getattr(s, name) == getattr(whole, name)
    assert s.isolated_energies[1] == pytest.approx(-2.0, abs=0.01)  # of the rare element, all of whose frames are in
    assert s.force_rms == pytest.approx(whole.force_rms, rel=0.2)
    assert dataclasses.asdict(s) != dataclasses.asdict(whole)


def test_stress_check_of_a_large_store_looks_at_a_part(silicon_store, monkeypatch):
    whole = check_stress(silicon_store)
    assert whole.verdict == "right"
    monkeypatch.setattr("equinet.data.stress_check.MAXIMUM_RECORDS", 60)
    read = []
    inner = Store.row
    monkeypatch.setattr(Store, "row", lambda self, index: (read.append(index), inner(self, index))[1])
    part = check_stress(silicon_store)
    assert part.verdict == "right"
    assert len(read) < len(silicon_store)
