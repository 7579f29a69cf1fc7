"""A store gives back the very records of its files, and knows their facts without reading them."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from equinet.data import RecordSet, Store, Subset, columns_of, edge_counts, make_example, open_records, read_records
from equinet.data.columns import compositions, info_values, species_of
from equinet.data.store import build_store
from equinet.errors import InputError
from tests.data.frames import record
from tests.data.store.conftest import LIMITS, assert_same


@pytest.fixture
def reference(files):
    return [record for path in files for record in read_records(path)]


def test_records_are_those_of_the_files(store, reference):
    assert len(store) == len(reference) == 35
    assert len(store.manifest.shards) > 4
    for ours, theirs in zip(store, reference, strict=True):
        assert_same(ours, theirs)
    assert_same(store[-1], reference[-1])
    assert_same(store[np.int64(3)], reference[3])
    for index in (35, -36):
        with pytest.raises(IndexError, match=f"no structure {index} among 35"):
            store[index]


def test_a_record_owns_its_arrays(store):
    before = store[2].positions.copy()
    store[2].positions[:] = 0.0
    np.testing.assert_array_equal(store[2].positions, before)


def test_slices_are_lazy(store, reference):
    part = store[5:25:3]
    assert isinstance(part, Subset)
    assert [r.source for r in part] == [r.source for r in reference[5:25:3]]
    assert_same(part[1:3][1], reference[11])
    np.testing.assert_array_equal(part[1:3].indices, [8, 11])


def test_columns_are_those_of_the_records(store, reference):
    ours, theirs = store.columns, columns_of(reference)
    for name in ("atoms", "has_energy", "has_forces", "has_stress", "has_virial", "is_isolated_atom", "energies"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert not ours.has_stress.all()
    assert ours.has_stress.any()
    assert ours.is_isolated_atom.sum() == 3
    folder = store.path.parent.name
    assert list(store.dataset) == 25 * [f"{folder}/first"] + 10 * [f"{folder}/second"]
    np.testing.assert_array_equal(store.atoms, [len(r.numbers) for r in reference])
    assert store.species() == species_of(reference) == [1, 8, 14]
    np.testing.assert_array_equal(store.compositions(), compositions(reference))
    assert store.info_values("group") == info_values(reference, "group")
    for number in (1, 8, 14, 26):
        expected = [i for i, r in enumerate(reference) if number in r.numbers]
        np.testing.assert_array_equal(store.structures_with(number), expected)


def test_an_isolated_atom_in_a_periodic_box_is_known_by_its_name(tmp_path):
    text = '1\nLattice="9 0 0 0 9 0 0 0 9" {}Properties=species:S:1:pos:R:3 energy=-1.0\nH 0 0 0\n'
    path = tmp_path / "atoms.extxyz"
    path.write_text(text.format("config_type=isolated_atom ") + text.format(""))
    build_store([path], tmp_path / "STORE")
    np.testing.assert_array_equal(Store(tmp_path / "STORE").columns.is_isolated_atom, [True, False])


def test_a_part_of_a_part(store, reference):
    part = Subset(Subset(store, [30, 3, 7, 20]), np.array([2, 0]))
    assert part.records is store
    np.testing.assert_array_equal(part.indices, [7, 30])
    np.testing.assert_array_equal(part.atoms, store.atoms[[7, 30]])
    np.testing.assert_array_equal(part.edge_counts(3.0), store.edge_counts(3.0)[[7, 30]])
    np.testing.assert_array_equal(part.compositions(), store.compositions()[[7, 30]])
    assert part.info_values("number") == [reference[7].info.get("number"), reference[30].info.get("number")]
    assert part.species() == species_of([reference[7], reference[30]])
    in_memory = Subset(reference, [30, 7])
    assert in_memory.species() == part.species()
    np.testing.assert_array_equal(in_memory.edge_counts(3.0), part.edge_counts(3.0)[::-1])


def test_edge_counts_are_those_of_the_graphs_and_kept(store, reference, monkeypatch):
    expected = [make_example(r, 3.0).graph.senders.shape[0] for r in reference]
    told = []
    np.testing.assert_array_equal(store.edge_counts(3.0, done=told.append), expected)
    assert told == [35]
    np.testing.assert_array_equal(edge_counts(reference, 3.0), expected)
    monkeypatch.setattr("equinet.data.store.store.count_edges", None)  # not counted again
    kept = Store(store.path).edge_counts(3.0)
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == np.int64


def test_edge_counts_in_processes(store, monkeypatch):
    monkeypatch.setattr("equinet.data.chunks.CHUNK", 10)
    alone = store.edge_counts(3.0)
    for file in (store.path / "cache").iterdir():
        file.unlink()
    np.testing.assert_array_equal(store.edge_counts(3.0, workers=2), alone)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_process_is_one_line(workers, monkeypatch):
    monkeypatch.setattr("equinet.data.chunks.CHUNK", 1)
    records = [record("H2"), record("H2", positions=np.zeros((2, 3)))]
    with pytest.raises(InputError) as caught:
        __import__("equinet.data.neighbor_counts", fromlist=["x"]).count_edges(records, 3.0, workers)
    assert str(caught.value) == (
        "H2 of the tests: atoms 0 and 1 are at one place (0.0e+00 A apart); remove one of them"
    )


def _source(record):
    return record.source


def test_other_processes_read_too(store, reference):
    assert_same(pickle.loads(pickle.dumps(store))[4], reference[4])
    store[0]  # open before the fork
    loader = DataLoader(store, batch_size=None, num_workers=2, collate_fn=_source)
    assert list(loader) == [r.source for r in reference]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_reading_leaves_no_memory_behind(tmp_path):
    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile", "RssAnon"))) / 1024

    path = tmp_path / "frames.extxyz"
    row = "H 0 0 0 0 0 0\n"
    frame = f"1000\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0\n{1000 * row}"
    path.write_text(600 * frame)
    build_store([path], tmp_path / "STORE")
    store = Store(tmp_path / "STORE")
    assert sum(shard.bytes for shard in store.manifest.shards) > 25e6
    store[0]
    before = resident()
    for index in range(len(store)):
        store[index]
    assert store.columns.atoms.sum() == 600_000
    assert resident() - before < 5  # MB


def test_other_tools_read_a_shard(store, reference):
    import pyarrow as pa

    with pa.memory_map(str(store.path / "shard-000000.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    row = table.slice(3, 1).to_pylist()[0]
    assert row["numbers"] == reference[3].numbers.tolist()
    assert row["positions"] == reference[3].positions.tolist()
    assert json.loads(row["info"]) == reference[3].info
    assert table.schema.metadata[b"energy"] == b"eV"
    assert table.column("energy").null_count == sum(r.energy is None for r in reference[:7])


def test_open_records(tmp_path, store, files, reference):
    assert isinstance(open_records(files[0]), RecordSet)
    opened = open_records(str(store.path))
    assert isinstance(opened, Store)
    assert_same(opened[1], reference[1])
    with pytest.raises(InputError, match=r"chosen when it was built; leave data\.keys out"):
        open_records(store.path, open_records(files[0]).report.keys)
    odd = tmp_path / "run:3.extxyz"
    odd.write_bytes(files[0].read_bytes())
    assert len(open_records(odd)) == 25


def refused(path):
    with pytest.raises(InputError) as caught:
        Store(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_whole_store(tmp_path, store):
    assert "no such store" in refused(tmp_path / "NONE")
    assert "without manifest.json is no store" in refused(tmp_path)
    (tmp_path / "HALF").mkdir()
    (tmp_path / "HALF" / ".shard-000000.arrow.123.partial").touch()
    assert "the store was not finished; build it again" in refused(tmp_path / "HALF")
    shard = store.path / "shard-000002.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert f"shard-000002.arrow: {len(content) - 1} bytes, but {len(content)} were written" in refused(store.path)
    shard.unlink()
    assert "shard-000002.arrow: the shard is missing" in refused(store.path)


def test_a_manifest_that_cannot_be(store):
    manifest = store.path / "manifest.json"
    plain = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(plain | {"format_version": 99}))
    assert "format version 99, but this equinet reads version 1" in refused(store.path)
    manifest.write_text(json.dumps(plain | {"complete": False}))
    assert "its build was interrupted; run the same 'equinet data build' again" in refused(store.path)
    manifest.write_text(manifest.read_text()[:-100])
    assert "damaged" in refused(store.path)
    manifest.write_text(json.dumps({key: value for key, value in plain.items() if key != "shards"}))
    assert "damaged" in refused(store.path)
    manifest.write_text(json.dumps({"format": "another", "format_version": 1}))
    assert "of another program" in refused(store.path)


def test_a_shard_that_is_damaged_in_place(store):
    shard = store.path / store.manifest.shards[1].file
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(InputError, match=r"shard-000001\.arrow: the shard is damaged"):
        store[8]
    assert store[1].source.endswith("frame 1")


def test_a_shard_cut_after_it_was_opened(store):
    store[8]
    shard = store.path / store.manifest.shards[1].file
    with shard.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(InputError, match="shorter than it was written"):
        store[8]


def test_limits_cut_shards(store):
    sizes = [shard.structures for shard in store.manifest.shards]
    assert max(sizes) == LIMITS.structures
    assert sum(sizes) == 35
    assert sum(shard.atoms for shard in store.manifest.shards) == store.atoms.sum()
