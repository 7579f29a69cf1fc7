"""Building: one pass, whole shards, nothing lost by a kill; a bad file leaves what was read before it."""

import fcntl
import json
import multiprocessing
import os
import re
import resource
import signal
import time

import ase.io
import pytest

from equinet.data import LabelKeys, Store, build_store, read_records
from equinet.data.store import Limits, Provenance, read_manifest
from equinet.errors import DataWarning, InputError
from tests.data.store.conftest import LIMITS, assert_same, mixed_frames


def in_a_process(work, *arguments):
    """A child of this process, which need not import everything again."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def slow_build(files, folder, limits):
    build_store(files, folder, limits=limits, done=lambda count: time.sleep(0.003))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_killed_and_run_again_it_is_the_same_store(tmp_path):
    files = [tmp_path / f"{name}.extxyz" for name in "abc"]
    for seed, (path, count) in enumerate(zip(files, (3, 150, 5), strict=True)):
        ase.io.write(path, mixed_frames(count, seed))
    limits = Limits(structures=10)
    build_store(files, tmp_path / "WHOLE", limits=limits)
    killed = tmp_path / "KILLED"
    seen = []
    for shards in (1, 5, 11):  # in the first file of several, and twice within the long one
        process = in_a_process(slow_build, files, killed, limits)
        while process.is_alive() and len(list(killed.glob("shard-*.arrow"))) < shards:
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        seen.append(len(list(killed.glob("shard-*.arrow"))))
        with pytest.raises(InputError, match=r"interrupted|not finished"):
            Store(killed)
    assert seen == sorted(seen)
    told = []
    build_store(files, killed, limits=limits, done=told.append)
    assert told[0] > 90  # structures in whole shards were not read again
    assert contents(killed) == contents(tmp_path / "WHOLE")


def test_every_possible_stop_ends_in_the_same_store(tmp_path, files):
    """Stopped after each structure in turn, in this process."""

    build_store(files, tmp_path / "WHOLE", limits=LIMITS)
    for stop in range(1, 36):

        def done(count, stop=stop):
            if count == stop:
                raise KeyboardInterrupt

        folder = tmp_path / f"S{stop}"
        with pytest.raises(KeyboardInterrupt):
            build_store(files, folder, limits=LIMITS, done=done)
        build_store(files, folder, limits=LIMITS)
        assert contents(folder) == contents(tmp_path / "WHOLE"), stop


def test_leftovers_of_a_kill_are_removed(tmp_path, files, store):
    before = contents(store.path)
    (store.path / ".shard-000009.arrow.77.partial").write_text("half")
    (store.path / "shard-000009.arrow").write_text("whole, but the manifest does not know it")
    build_store(files, store.path)
    assert contents(store.path) == before


def test_adding_files(tmp_path, files):
    build_store(files[:1], tmp_path / "STORE", limits=LIMITS)
    first = contents(tmp_path / "STORE")
    built = build_store(files, tmp_path / "STORE", provenance=Provenance("more", "PBE"), limits=LIMITS)
    assert built[0].report is None
    assert built[1].report.frames == 10
    store = Store(tmp_path / "STORE")
    assert len(store) == 35
    after = contents(tmp_path / "STORE")
    assert all(after[name] == content for name, content in first.items() if name != "manifest.json")
    assert set(store.dataset) == {f"{tmp_path.name}/first", "more"}
    assert [entry.level_of_theory for entry in store.manifest.inputs] == [None, "PBE"]
    assert store.fingerprint != read_manifest_fingerprint(first)


def read_manifest_fingerprint(content):
    return json.loads(content["manifest.json"])["summary"]["fingerprint"]


def test_a_bad_file_leaves_what_was_read_before_it(tmp_path, files):
    bad = tmp_path / "bad.extxyz"
    bad.write_text(files[0].read_text() + "2\nProperties=species:S:1:pos:R:3 energy=nan\nH 0 0 0\nH 0 0 1\n")
    with pytest.raises(InputError, match="frame 25: 'energy' has values that are not finite"):
        build_store([files[1], bad], tmp_path / "STORE", limits=LIMITS)
    store = Store(tmp_path / "STORE")
    for ours, theirs in zip(store, read_records(files[1]), strict=True):
        assert_same(ours, theirs)
    names = {path.name for path in store.path.iterdir()}
    assert names == {"manifest.json", *(shard.file for shard in store.manifest.shards)}


def test_nothing_readable_leaves_no_folder(tmp_path):
    bad = tmp_path / "bad.extxyz"
    bad.write_text("2\nno")
    with pytest.raises(InputError, match="cannot be read"):
        build_store([bad], tmp_path / "STORE")
    assert not (tmp_path / "STORE").exists()


def test_labels_that_clash_late_in_a_file(tmp_path):
    one = "1\nProperties=species:S:1:pos:R:3 {}=-1.0\nH 0 0 0\n"
    path = tmp_path / "mixed.extxyz"
    path.write_text(20 * one.format("energy") + one.format("REF_energy"))
    with pytest.raises(InputError, match="mixed energy keys: 20 of 21 frames have 'energy', 1 others only"):
        build_store([path], tmp_path / "STORE", limits=LIMITS)
    assert not (tmp_path / "STORE").exists()
    with pytest.raises(InputError, match=r"no frame has the key 'REF_enrgy'.*did you mean 'REF_energy'"):
        build_store([path], tmp_path / "STORE", LabelKeys(energy="REF_enrgy"), limits=LIMITS)


def test_an_unfinished_file_that_changed_starts_again(tmp_path, files):
    def stop(count):
        if count == 20:
            raise KeyboardInterrupt

    folder = tmp_path / "STORE"
    with pytest.raises(KeyboardInterrupt):
        build_store(files, folder, limits=LIMITS, done=stop)
    assert [entry.complete for entry in read_manifest(folder).inputs] == [False]
    with pytest.raises(InputError, match=r"first\.extxyz was not read to its end; give the files of that build again"):
        build_store(files[1:], folder, limits=LIMITS)
    ase.io.write(files[0], mixed_frames(12, seed=5))
    build_store(files, folder, limits=LIMITS)
    for ours, theirs in zip(Store(folder), [r for path in files for r in read_records(path)], strict=True):
        assert_same(ours, theirs)


def test_warnings_count_the_whole_file_after_a_stop(tmp_path):
    one = "1\nProperties=species:S:1:pos:R:3{}\nH 0 0 0\n"
    path = tmp_path / "some.extxyz"
    path.write_text(9 * one.format(" energy=-1.0") + 2 * one.format("") + 9 * one.format(" energy=-2.0"))

    def stop(count):
        if count == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store([path], tmp_path / "STORE", limits=LIMITS, done=stop)
    with pytest.warns(DataWarning, match="2 of 20 frames carry no label"):
        (built,) = build_store([path], tmp_path / "STORE", limits=LIMITS)
    assert (built.report.frames, built.report.frames_with_energy) == (20, 18)
    assert Store(tmp_path / "STORE")[9].source == f"{path} frame 11"


def test_two_builds_at_a_time(tmp_path, store, files):
    folder = os.open(store.path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process is building this store"):
        build_store(files, store.path)
    os.close(folder)
    build_store(files, store.path)


def build_with_small_files_only(files, folder, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    try:
        build_store(files, folder, limits=Limits(structures=20))
    except InputError as error:
        queue.put(str(error))


def test_no_room_left(tmp_path, files):
    """A limit on the size of files stands for a full disk: the write fails alike."""
    folder = tmp_path / "STORE"
    queue = multiprocessing.get_context("fork").SimpleQueue()
    in_a_process(build_with_small_files_only, files, folder, queue).join()
    assert re.search(
        r"STORE: cannot be written \(.*File too large\); make room, and run the same build again", queue.get()
    )
    build_store(files, folder, limits=LIMITS)
    assert len(Store(folder)) == 35


def test_a_file_that_changed_after_it_was_read(tmp_path, files, monkeypatch):
    for seed, folder in enumerate(("one", "two")):  # files of one name, as runs in two folders have
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        ase.io.write("frames.extxyz", mixed_frames(3, seed=5 + seed))
        build_store(["frames.extxyz"], tmp_path / "STORE", limits=LIMITS)
    assert len(Store(tmp_path / "STORE")) == 6
    before = contents(tmp_path / "STORE")
    ase.io.write("frames.extxyz", mixed_frames(4, seed=9))
    with pytest.raises(InputError, match=r"has 3 frames of frames\.extxyz as it was, .*build a new store of all files"):
        build_store([*files, "frames.extxyz"], tmp_path / "STORE", limits=LIMITS)
    assert contents(tmp_path / "STORE") == before


def test_places_that_cannot_be(tmp_path, files):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file of this name is there"):
        build_store(files, tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"the folder holds 'thesis\.tex' and is no store"):
        build_store(files, tmp_path / "folder")
    with pytest.raises(InputError, match="no such file"):
        build_store([tmp_path / "none.extxyz"], tmp_path / "STORE")
    with pytest.raises(InputError, match="a folder without DeePMD-kit systems"):
        build_store([tmp_path / "folder"], tmp_path / "STORE")
