import json

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from equinet.simulate import run_md


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "md.extxyz"
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    copper.symbols[::4] = "Au"
    run_md(
        copper, EMT(), ensemble="nve", timestep=4.0, steps=280, temperature=600.0, output=path,
        log=path.with_suffix(".csv"), interval=2,
    )  # fmt: skip
    return path


def test_all_of_a_run_of_ours(run, trajectory, tmp_path):
    code, out, err = run("analyze", trajectory, "-o", tmp_path / "all", "--fit", 0.2, 0.5)
    assert (code, err) == (0, "")
    assert "left out" not in out
    for name in ("rdf", "msd", "spectrum", "drift"):
        assert f"{name}" in out
        report = json.loads((tmp_path / "all" / f"{name}.json").read_text())
        assert report["property"] == name
        assert report["settings"]["trajectory"] == str(trajectory)
        assert (tmp_path / "all" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "rdf all: first peak at 2.53 A, 12 neighbours" in out
    assert "msd Cu: not diffusive" in out
    assert "93 degrees of freedom" in out
    drift = json.loads((tmp_path / "all" / "drift.json").read_text())["results"]
    assert drift["samples"] == 281  # the log's, of every step
    assert drift["constant_energy"]


def test_what_a_file_lacks_is_left_out_and_said(run, fails, trajectory, tmp_path):
    bare = tmp_path / "bare.extxyz"
    frames = ase.io.read(trajectory, ":50")
    for frame in frames:
        frame.arrays.pop("momenta")
        frame.info.clear()
        frame.calc = None
    ase.io.write(bare, frames)
    out = tmp_path / "out"
    code, text, _ = run("analyze", bare, "-o", out)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["rdf.json", "rdf.png"]
    assert "msd: left out: " in text
    assert "--timestep" in text
    code, text, _ = run("analyze", bare, "-o", out, "--timestep", 4, "--interval", 2)
    assert (out / "msd.json").is_file()
    assert "spectrum: left out: the frames have no velocities" in text
    assert "drift: left out: frame 0 has no energy" in text
    assert "no spectrum: the frames have no velocities" in fails(
        "analyze", bare, "-o", out, "--spectrum", "--timestep", 4, "--interval", 2
    )
    assert "no msd" in fails("analyze", bare, "-o", out, "--msd", "--rdf")


def test_frames_far_apart_have_no_spectrum(fails, trajectory, tmp_path):
    line = fails("analyze", trajectory, "-o", tmp_path / "o", "--spectrum", "--every", 20)
    assert "too few" in line
    line = fails("analyze", trajectory, "-o", tmp_path / "o", "--spectrum", "--correlation", 0.1, "--stop", 20)
    assert "too few" in line


def test_chosen_frames_take_their_own_energies(run, trajectory, tmp_path):
    code, _, _ = run("analyze", trajectory, "-o", tmp_path, "--drift", "--start", 20, "--stop", 121)
    assert code == 0
    drift = json.loads((tmp_path / "drift.json").read_text())["results"]
    assert drift["samples"] == 101
    assert drift["times_ps"][0] == pytest.approx(0.16)


def test_every_counts_for_the_drift_too(run, trajectory, tmp_path):
    code, out, _ = run("analyze", trajectory, "-o", tmp_path, "--drift", "--every", 2)
    assert code == 0
    assert f"{trajectory}: 71 frames" in out
    report = json.loads((tmp_path / "drift.json").read_text())
    assert report["results"]["samples"] == 71
    assert report["settings"]["log"] is None


def test_options_that_would_have_no_effect_are_refused(run, fails, trajectory, tmp_path):
    out = tmp_path / "o"
    for analysis, option, values in (
        ("--msd", "--rmax", [5]),
        ("--msd", "--bin", [0.1]),
        ("--rdf", "--fit", [0.2, 0.5]),
        ("--rdf", "--viscosity", [0.9]),
        ("--rdf", "--correlation", [1]),
        ("--rdf", "--log", [trajectory.with_suffix(".csv")]),
    ):
        line = fails("analyze", trajectory, "-o", out, analysis, option, *values)
        assert f"{option} would have no effect: it is for --" in line
        assert f"you ask for {analysis} alone" in line
    assert "--viscosity" in fails("analyze", trajectory, "-o", out, "--msd", "--temperature", 300)
    assert not out.exists()
    assert run("analyze", trajectory, "-o", out, "--rdf", "--drift", "--bin", 0.1)[0] == 0
    settings = json.loads((out / "rdf.json").read_text())["settings"]
    assert (settings["bin"], settings["correlation"]) == (0.1, 2.0)


def test_bad_input_is_one_line(fails, trajectory, tmp_path):
    out = tmp_path / "o"
    assert "no such file" in fails("analyze", tmp_path / "absent.xyz", "-o", out)
    assert "make no sense" in fails("analyze", trajectory, "-o", out, "--start", 5, "--stop", 5)
    assert "no frames from number 500" in fails("analyze", trajectory, "-o", out, "--start", 500)
    assert "makes no sense" in fails("analyze", trajectory, "-o", out, "--rmax", -1)
    assert "change --fit" in fails("analyze", trajectory, "-o", out, "--msd", "--fit", 5, 9)
    assert "no such file" in fails("analyze", trajectory, "-o", out, "--drift", "--log", tmp_path / "absent.csv")
    (tmp_path / "file").write_text("")
    assert "cannot make the folder" in fails("analyze", trajectory, "-o", tmp_path / "file")


def test_a_trajectory_larger_than_memory(run, fails, trajectory, tmp_path, monkeypatch):
    """What needs all frames at once is left out, with a line; the rest is done."""
    monkeypatch.setattr("equinet.simulate.analysis.motion.MEMORY_FRACTION", 1e-7)
    code, out, _ = run("analyze", trajectory, "-o", tmp_path / "all")
    assert code == 0
    for name in ("msd", "spectrum"):
        line = next(line for line in out.splitlines() if line.startswith(f"{name}: left out"))
        assert "of 32 atoms" in line
        assert "may be taken; take fewer" in line
    assert "rdf all: first peak" in out
    assert "frames fit into" in fails("analyze", trajectory, "--msd", "-o", tmp_path / "msd")
