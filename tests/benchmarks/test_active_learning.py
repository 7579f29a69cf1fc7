"""The benchmark of active learning: its arithmetic and words, and its loop for a moment with EMT as labelling code."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.uncertainty import active_learning as loop
from benchmarks.uncertainty import active_learning_report as report

GAIN = {"random": 0.0, "farthest": 0.0, "uncertainty": 20.0}


def rows(gain=GAIN, seeds=5, rounds=2, scatter=2.0):
    """Learning curves whose forces gain so many meV/A over random choice, seed by seed but for some scatter."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        common = 30.0 * rng.normal()  # what the seeds differ by is the same for all strategies
        for number in range(rounds + 1):
            for strategy, better in gain.items():
                off = rng.normal(size=4) * scatter * (number > 0)
                error = 200.0 - 40.0 * number + common - better * (number > 0)
                forces = {"force_mae": error + off[0], "force_rmse": error + off[1], "force_p99": 4 * error + off[2]}
                judged = {group: forces | {"energy_mae": 5.0 + 0.1 * off[3]} for group in ("300K", "1000K")}
                stable = {"stable_ps": 0.5 + 0.01 * off[3], "frames": 50 + 25 * number}
                found.append({"seed": seed, "strategy": strategy, "round": number} | judged | stable)
    return found


def test_intervals_are_students():
    mean, low, high = report.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert (high - mean) == pytest.approx(mean - low)
    assert high - mean == pytest.approx(2.7764451 * 2.5**0.5 / 5**0.5, rel=1e-6)
    draws = np.random.default_rng(0).normal(1.0, 3.0, size=(2000, 5))
    inside = [low < 1.0 < high for _, low, high in map(report.interval, draws)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert np.isnan(report.interval([1.0])[1])


def test_differences_are_taken_within_seeds():
    """What seeds have in common cancels: the interval is far narrower than that of either curve."""
    metric = report.METRICS[0]
    mean, low, high = report.difference(rows(), "uncertainty", metric, 2)
    assert low < -20.0 < high
    assert mean == pytest.approx(-20.0, abs=3.0)
    curve = report.interval(list(report.curve(rows(), "random", metric)[2].values()))
    assert high - low < 0.3 * (curve[2] - curve[1])


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (20.0, "equinet select is better than random choice in force MAE, 1000 K (meV/Å), 99 % of force errors"),
        (-20.0, "equinet select is worse than random choice in force MAE, 1000 K (meV/Å), 99 % of force errors"),
        (0.0, "A null result"),
    ],
)
def test_the_verdict_follows_the_numbers(gain, words):
    found = rows(GAIN | {"uncertainty": gain})
    assert words in report.headline(found)
    lines = report.verdict(found)
    assert len(lines) == 6
    assert sum("no difference" in line for line in lines) == (6 if gain == 0.0 else 4)


def test_rounds_that_are_not_whole_do_not_count(tmp_path):
    found = [row for row in rows() if not (row["round"] == 2 and row["seed"] == 4 and row["strategy"] == "farthest")]
    assert {row["round"] for row in report.complete_rounds(found)} == {0, 1}
    assert len(report.complete_rounds(found)) == 5 * 2 * 3
    early = [row for row in rows() if row["round"] == 0 or (row["round"] == 1 and row["seed"] in (1, 3))]
    assert {(row["seed"], row["round"]) for row in report.complete_rounds(early)} == {(1, 0), (1, 1), (3, 0), (3, 1)}
    assert report.complete_rounds([row for row in early if row["round"] == 0]) == []
    report.write_report({**vars(loop.Protocol())}, found, tmp_path)
    page = (tmp_path / "active_learning.md").read_text()
    assert "Of 3 rounds and 5 seeds, 1 and 5 are done." in page
    assert "| force MAE, 1000 K (meV/Å) | random | " in page
    assert "95 % intervals over 5 seeds" in page
    assert (tmp_path / "active_learning.png").stat().st_size > 20_000
    assert len(json.loads((tmp_path / "active_learning.json").read_text())["rows"]) == len(found)


def test_a_molecule_is_whole_as_long_as_its_bonds_are_those_of_the_start():
    ethanol = molecule("CH3CH2OH")
    assert len(loop.bonds_of(ethanol)) == 8
    first, second = loop.bonds_of(ethanol)[0]
    unit = ethanol.positions[second] - ethanol.positions[first]
    unit /= np.linalg.norm(unit)
    frames = []
    for stretch in (0.0, 0.3, -0.45, 0.52, 0.1):
        frame = ethanol.copy()
        frame.positions[second] += stretch * unit
        frames.append(frame)
    far = [*frames[:1], frames[0].copy()]
    far[1].rotate(40, "z")
    far[1].translate([9.0, 0.0, 0.0])
    assert loop.stable_frames(ethanol, far) == 2
    assert loop.stable_frames(ethanol, frames) == 3
    folded = ethanol.copy()
    folded.positions[-1] = folded.positions[-2] + [0.0, 0.0, 0.7]  # two hydrogens of a methyl group as in H2
    assert loop.stable_frames(ethanol, [ethanol, folded]) == 1


def test_the_loop_runs_and_is_not_run_again(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch_sim")

    def label(source, target):
        frames = ase.io.read(source, ":")
        for frame in frames:
            frame.calc = EMT()
            results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
            frame.calc = SinglePointCalculator(frame, **results)
        ase.io.write(target, frames)

    monkeypatch.setattr(loop, "label", label)
    monkeypatch.setattr(loop, "STRATEGIES", ("uncertainty",))
    protocol = loop.Protocol(frames=8, chosen=2, rounds=1, seeds=1, train_steps=4, starts=2, md_steps=4, interval=1)
    base = tmp_path / "seed-0"
    for _ in range(2):
        loop.prepare(protocol, 0, base)
        for number in (0, 1):
            loop.run_round(protocol, "uncertainty", 0, base, number)
        assert capsys.readouterr().out.count("seed 0, round") == (2 if _ == 0 else 0)
    (first, second) = loop.collect(protocol, tmp_path)
    assert (first["frames"], second["frames"]) == (8, 10)
    assert first["pool"] >= 2
    assert len(second["times_ps"]) == 2
    chosen = ase.io.read(base / "uncertainty/round-1/labelled.extxyz", ":")
    assert [atoms.info["rank"] for atoms in chosen] == [1, 2]
    assert chosen[0].get_forces().shape == (10, 3)
    trained = ase.io.read(base / "uncertainty/round-1/train.extxyz", ":")
    np.testing.assert_allclose(trained[-1].positions, chosen[-1].positions, atol=1e-7)
    assert set(first["1000K"]) == {"force_mae", "force_rmse", "force_p99", "energy_mae"}
