import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.data.store import Limits, Store, build_store

LIMITS = Limits(structures=7)
"""Shards of seven structures: small sets have several."""


def assert_same(ours, theirs):
    """Two records hold the same numbers, bit for bit."""
    for name in ("numbers", "positions", "cell", "pbc", "forces", "virial"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert (ours.energy, ours.source, ours.energy_key) == (theirs.energy, theirs.source, theirs.energy_key)
    assert ours.info == theirs.info


def mixed_frames(count, seed=0):
    """Crystals, slabs, molecules and free atoms; each label is missing in some."""
    generator = np.random.default_rng(seed)
    frames = []
    for i in range(count):
        size = int(generator.integers(2, 9))
        atoms = Atoms(
            generator.choice([1, 8, 14], size=size),
            np.argwhere(np.ones((2, 2, 2)))[:size] * 2.0 + 0.2 * generator.normal(size=(size, 3)),
            cell=[5.0, 5.5, 6.0],
            pbc=[(True, True, True), (True, True, False), (False, False, False)][i % 3],
        )
        if i % 11 == 5:
            atoms = Atoms("H", pbc=False)
        results = {"energy": float(generator.normal())} if i % 5 else {}
        if i % 4 or not results:
            results["forces"] = generator.normal(size=(len(atoms), 3))
        if atoms.pbc.all() and i % 2:
            results["stress"] = generator.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info |= {"group": f"g{i % 4}", "number": i} if i % 7 else {}
        frames.append(atoms)
    return frames


@pytest.fixture(autouse=True)
def _no_syncing(monkeypatch):
    """Waiting for the disk is most of the time of small stores; what is renamed when stays as it is."""
    monkeypatch.setattr("equinet.files.sync", lambda path: None)


@pytest.fixture
def files(tmp_path):
    """Two files of 25 and 10 frames."""
    paths = [tmp_path / "first.extxyz", tmp_path / "second.extxyz"]
    for seed, (path, count) in enumerate(zip(paths, (25, 10), strict=True)):
        ase.io.write(path, mixed_frames(count, seed))
    return paths


@pytest.fixture
def store(tmp_path, files):
    build_store(files, tmp_path / "STORE", limits=LIMITS)
    return Store(tmp_path / "STORE")
