"""equinet predict over many structures: inputs of every kind, resumed after a kill, several devices, bad structures."""

import json
import os
import signal
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest
import torch

from equinet.data import Store, build_store
from equinet.data.store.splits import write_split
from equinet.models import save_model
from equinet.simulate.partial_output import PartialOutput
from equinet.simulate.structures import bulk, molecule, slab
from tests.simulate.conftest import small_potential


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.extxyz"
    ase.io.write(path, [build([6, 14], seed) for seed in range(20) for build in (bulk, slab, molecule)])
    return path


def left_behind(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name + "."))


def predict_and_kill(model, data, out, lines, *options):
    """Kill the process as soon as its journal has so many lines."""
    command = [sys.executable, "-m", "equinet.cli", "predict", model, data, "-o", out, "--batch-size", "1", *options]
    process = subprocess.Popen(map(str, command), env=os.environ | {"OMP_NUM_THREADS": "1"})
    journal, end = out.with_name(out.name + ".partial.json"), time.monotonic() + 90
    while not journal.is_file() or journal.read_text().count("\n") < lines:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_and_resumed_ends_with_the_same_bytes(run, fails, model_file, many, tmp_path):
    whole, out = tmp_path / "whole.extxyz", tmp_path / "out.extxyz"
    assert run("predict", model_file, many, "-o", whole, "--batch-size", 1)[0] == 0
    predict_and_kill(model_file, many, out, 10)
    assert not out.exists()
    assert left_behind(out) == ["out.extxyz.partial", "out.extxyz.partial.json"]
    partial, journal = (tmp_path / name for name in left_behind(out))
    done = [json.loads(line) for line in journal.read_text().splitlines()][-1]["written"]
    assert 8 <= done < 60
    with partial.open("a") as file, journal.open("a") as lines:  # at worst: half a structure, and half a line
        file.write("8\nhalf of a structure")
        lines.write('{"written": 17')

    again = ("predict", model_file, many, "-o", out, "--batch-size", 1)
    assert f"out.extxyz.partial is of a run that was interrupted after {done} structures" in fails(*again)
    code, text, err = run(*again, "--resume")
    assert (code, err) == (0, "")
    assert text == f"60 structures: {out}\n"
    assert out.read_bytes() == whole.read_bytes()
    assert left_behind(out) == []


def test_an_unfinished_output_of_something_else_is_refused(fails, model_file, many, tmp_path):
    out, oxide = tmp_path / "out.extxyz", tmp_path / "oxide.extxyz"
    ase.io.write(oxide, [*ase.io.read(many, ":10"), ase.Atoms("O"), *ase.io.read(many, "10:")])
    options = ("-o", out, "--batch-size", 2)
    line = fails("predict", model_file, oxide, *options)
    assert f"{oxide}: frame 10: the potential does not know O; it was trained for C, Si; " in line
    assert "--skip-bad leaves such structures out; --resume goes on after the 8 done" in line
    assert "another input" in fails("predict", model_file, many, *options, "--resume")
    assert "another batch size (2, now 3)" in fails(
        "predict", model_file, oxide, *options, "--batch-size", 3, "--resume"
    )
    line = fails("predict", model_file, oxide, *options, "--dtype", "float32", "--resume")
    assert "another dtype (None, now float32)" in line
    with oxide.open("a") as file:
        file.write(many.read_text())  # the same name, another content
    assert "another input" in fails("predict", model_file, oxide, *options, "--resume")
    assert not out.exists()


def test_a_partial_output_of_another_model_is_refused(fails, model_file, many, tmp_path):
    out = tmp_path / "out.extxyz"
    with many.open("a") as file:
        file.write("1\nfine\nO 0 0 0\n")
    assert "the potential does not know O" in fails("predict", model_file, many, "-o", out)
    other = tmp_path / "other.safetensors"
    save_model(small_potential(torch.float32), other)
    assert "another model (" in fails("predict", other, many, "-o", out, "--resume")


def test_bad_structures_are_named_and_left_out(run, model_file, many, tmp_path):
    good, mixed = tmp_path / "good.extxyz", tmp_path / "mixed.extxyz"
    frames = ase.io.read(many, ":12")
    bad = [ase.Atoms("O"), ase.Atoms("Si2", pbc=False), ase.Atoms("Si", positions=[[np.nan] * 3])]
    ase.io.write(mixed, [bad[0], *frames[:5], bad[1], *frames[5:], bad[2]])
    ase.io.write(good, frames)
    assert run("predict", model_file, good, "-o", tmp_path / "a.extxyz", "--batch-size", 5)[0] == 0
    options = ("--batch-size", 5, "--skip-bad")
    code, text, err = run("predict", model_file, mixed, "-o", tmp_path / "b.extxyz", *options)
    assert code == 0
    assert text == f"12 structures: {tmp_path / 'b.extxyz'}; 3 left out\n"
    lines = err.splitlines()
    assert [line.split(": ")[3] for line in lines] == ["frame 0", "frame 6", "frame 14"]
    assert all(line.endswith("; left out") for line in lines)
    assert (tmp_path / "a.extxyz").read_bytes() == (tmp_path / "b.extxyz").read_bytes()


def test_stopped_at_a_bad_structure_and_resumed_without_it(run, fails, model_file, many, tmp_path):
    out, oxide = tmp_path / "out.extxyz", tmp_path / "oxide.extxyz"
    frames = ase.io.read(many, ":9")
    ase.io.write(oxide, [*frames[:5], ase.Atoms("O"), *frames[5:]])
    options = ("predict", model_file, oxide, "--batch-size", 2)
    fails(*options, "-o", out)
    assert run(*options, "-o", out, "--resume", "--skip-bad")[1].endswith("; 1 left out\n")
    assert run(*options, "-o", tmp_path / "at_once.extxyz", "--skip-bad")[0] == 0
    assert out.read_bytes() == (tmp_path / "at_once.extxyz").read_bytes()


@pytest.mark.parametrize("before", [None, "of a run before"])
def test_nothing_that_can_be_predicted_leaves_no_output(run, model_file, tmp_path, before):
    out, oxide = tmp_path / "out.extxyz", tmp_path / "oxide.extxyz"
    ase.io.write(oxide, [ase.Atoms("O"), ase.Atoms("O2", positions=[[0, 0, 0], [0, 0, 1]])])
    if before is not None:
        out.write_text(before)
    code, text, err = run("predict", model_file, oxide, "-o", out, "--skip-bad")
    assert (code, text) == (1, "")
    assert err.splitlines()[-1] == f"equinet: error: {out} is not written: all structures were left out (2)"
    assert (out.read_text() if out.exists() else None) == before
    assert left_behind(out) == []


def test_interrupted_says_how_to_go_on(run, fails, model_file, many, tmp_path, monkeypatch):
    out = tmp_path / "out.extxyz"
    command = ("predict", model_file, many, "-o", out, "--batch-size", 7)
    append = PartialOutput.append

    def stopped(self, *rest):
        append(self, *rest)
        if self.position.written == 14:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialOutput, "append", stopped)
        code, _, err = run(*command)
        assert (code, err) == (130, "equinet: error: interrupted; --resume goes on after the 14 done\n")
    journal = tmp_path / "out.extxyz.partial.json"
    text = journal.read_text()
    journal.unlink()
    for resume in ([], ["--resume"]):
        assert f"{out}.partial is there without out.extxyz.partial.json" in fails(*command, *resume)
        assert (tmp_path / "out.extxyz.partial").stat().st_size > 1000
    journal.write_text(text)
    assert run(*command, "--resume")[0] == 0

    done = out.read_bytes()
    monkeypatch.setattr("equinet.cli.predict._predict", None)  # nothing is computed
    line = fails(*command, "--resume")
    assert f"{out} is finished, and there is no out.extxyz.partial to go on with" in line
    assert out.read_bytes() == done


def test_one_device_or_several(fails, model_file, many, tmp_path):
    options = ("-o", tmp_path / "out.extxyz", "--devices", "cpu,cpu", "--device", "cpu")
    assert "--device would have no effect: --devices says where" in fails("predict", model_file, many, *options)


@pytest.mark.parametrize("batch_size", ["3", "auto"])
def test_two_workers_write_the_same_bytes(run, model_file, many, tmp_path, batch_size):
    one, two = tmp_path / "one.extxyz", tmp_path / "two.extxyz"
    assert run("predict", model_file, many, "-o", one, "--batch-size", batch_size)[0] == 0
    options = ("--batch-size", batch_size, "--devices", "cpu,cpu")
    assert run("predict", model_file, many, "-o", two, *options)[0] == 0
    assert len(ase.io.read(two, ":")) == 60
    assert one.read_bytes() == two.read_bytes()


def test_stores_splits_and_files_together(run, model_file, tmp_path):
    labelled, store, out = tmp_path / "labelled.extxyz", tmp_path / "STORE", tmp_path / "out.extxyz"
    frames = [build([6, 14], seed) for seed in range(3) for build in (bulk, slab)]
    for number, atoms in enumerate(frames):
        atoms.info |= {"energy": -1.5 * number, "number": number}
        atoms.info["virial"] = number * np.eye(3)
    ase.io.write(labelled, frames)
    build_store([labelled], store)
    write_split(Store(store), "odd", np.array([1, 3, 5]), {})
    code, text, err = run("predict", model_file, f"{store}:odd", labelled, store, "-o", out, "--batch-size", 4)
    assert (code, err) == (0, "")
    assert text.startswith("15 structures")
    predicted = ase.io.read(out, ":")
    assert [atoms.info["number"] for atoms in predicted] == [1, 3, 5, *range(6), *range(6)]
    for atoms in predicted:
        assert atoms.info["REF_energy"] == -1.5 * atoms.info["number"]
    again = [atoms.get_potential_energy() for atoms in predicted]
    assert again[3:9] == pytest.approx(again[9:], abs=1e-9)
    np.testing.assert_allclose(predicted[0].info["REF_virial"], np.eye(3))  # a slab has no stress
    np.testing.assert_allclose(predicted[5 + 4].info["REF_stress"], 0.0)


def test_a_full_disk_is_one_line_and_keeps_what_is_whole(model_file, many, tmp_path):
    """The limit on the size of files stands in for the disk."""
    out = tmp_path / "out.extxyz"
    code = (
        "import resource, signal, sys; from equinet.cli.main import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "sys.exit(main(['predict', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, model_file, many, "-o", out, "--batch-size", "4"]
    done = subprocess.run(map(str, command), capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot write" in done.stderr
    assert "--resume goes on after the" in done.stderr
    assert (tmp_path / "out.extxyz.partial").stat().st_size <= 20000
