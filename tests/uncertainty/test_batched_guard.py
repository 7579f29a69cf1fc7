"""Guards in dynamics of many structures: what each sees alone, and what is known survives a kill."""

import json

import ase.io
import numpy as np
import pytest
from ase import units

import equinet
from equinet.errors import DataWarning, InputError
from equinet.simulate import Ensemble
from equinet.simulate.dynamics import run_ensemble
from equinet.simulate.guard import GuardStop
from equinet.simulate.watch import GuardSettings
from tests.cli.conftest import fails, run  # noqa: F401 fixtures
from tests.uncertainty.conftest import structure

pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
from equinet import TorchSimModel
from equinet.simulate.batched_dynamics import BatchedDynamics

ENSEMBLE = Ensemble("nve", 1.0)
HOT = 1


@pytest.fixture(scope="module")
def starts():
    """Three crystals, of which one is so hot that it soon leaves the training data."""
    found = []
    for index in range(3):
        atoms = structure(index, 0.02)
        temperature = 3000.0 if index == HOT else 10.0
        momenta = np.random.default_rng(index).normal(size=(8, 3))
        momenta *= np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
        atoms.set_momenta(momenta - momenta.mean(axis=0))
        found.append(atoms)
    return found


def batch(made, starts, folder, guard=None, kind="one", steps=60, interval=7, **options):
    model = TorchSimModel(made / "model.safetensors", uncertainty=made / f"{kind}.safetensors")
    ensemble = options.pop("ensemble", ENSEMBLE)
    names = [f"crystal {index}" for index in range(len(starts))]
    return BatchedDynamics(
        starts, model, ensemble, steps, folder, interval=interval, guard=guard, names=names, **options
    )


def alone(made, atoms, guard, output, kind="one", **options):
    calculator = equinet.Calculator(made / "model.safetensors", uncertainty=made / f"{kind}.safetensors")
    log = output.with_suffix(".csv")
    return run_ensemble(atoms, calculator, ENSEMBLE, 60, output=output, log=log, interval=7, guard=guard, **options)


@pytest.mark.parametrize("kind", ["one", "committee"])
def test_one_that_goes_outside_stops_where_it_would_alone_and_the_others_go_on(made, starts, tmp_path, kind):
    limit = {"one": {"support": 1.0}, "committee": {"support": None, "forces_std": 1.1}}[kind]
    guard = GuardSettings("stop", interval=5, file=tmp_path / "label.extxyz", **limit)
    told = []
    runs = batch(made, starts, tmp_path / "run", guard, kind).run(on_failure=told.append)
    assert told == [runs[HOT]]
    with pytest.raises(GuardStop) as stop:
        alone(made, starts[HOT], GuardSettings("stop", interval=5, **limit), tmp_path / "hot.extxyz", kind)
    found = str(stop.value).split("; label")[0]
    assert runs[HOT].failure == f"the guard stopped it at {found}"
    step = runs[HOT].steps
    assert found.startswith(f"step {step}: ")
    assert 0 < step < 60
    assert step % 7  # a look where no frame was due
    assert (runs[HOT].checks, runs[HOT].alarms, runs[HOT].first_alarm) == (step // 5 + 1, 1, found)

    frames, expected = (ase.io.read(path, ":") for path in (tmp_path / "run/1.extxyz", tmp_path / "hot.extxyz"))
    assert [f.info["step"] for f in frames] == [f.info["step"] for f in expected] == [*range(0, step, 7), step]
    np.testing.assert_allclose(frames[-1].positions, expected[-1].positions, atol=2e-8)
    saved = ase.io.read(tmp_path / "label.extxyz", ":")
    assert [(f.info["step"], f.info["system"], f.info["start"]) for f in saved] == [(step, HOT, "crystal 1")]
    np.testing.assert_allclose(saved[0].positions, frames[-1].positions, atol=1e-7)
    name = next(name for name, value in limit.items() if value)
    assert saved[0].arrays[name].max() > limit[name]

    for index in (0, 2):
        assert (runs[index].steps, runs[index].failure, runs[index].alarms) == (60, None, 0)
        ended = alone(made, starts[index], None, tmp_path / "cold.extxyz", kind)
        last = ase.io.read(tmp_path / f"run/{index}.extxyz")
        np.testing.assert_allclose(last.positions, ended.atoms.positions, atol=2e-8)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert [each["alarms"] for each in summary["systems"]] == [0, 1, 0]


def test_all_may_stop(made, starts, tmp_path):
    work = batch(made, starts, tmp_path / "run", GuardSettings("stop", support=1e-6), max_atoms=16)
    runs = work.run()
    assert [(each.steps, each.alarms) for each in runs] == [(0, 1)] * 3
    assert work.watch.summary() == "guard: 3 of 3 checks beyond the limits; in 3 of 3 structures"
    assert [len(ase.io.read(tmp_path / f"run/{index}.extxyz", ":")) for index in range(3)] == [1, 1, 1]


def test_a_warning_for_each(made, starts, tmp_path):
    guard = GuardSettings("warn", support=0.01)
    work = batch(made, starts, tmp_path / "run", guard, steps=15)
    with pytest.warns(DataWarning, match="beyond 0.01") as caught:
        runs = work.run()
    said = [str(each.message) for each in caught]
    assert [line.split(":")[0] for line in said] == ["crystal 0", "crystal 1", "crystal 2"]
    assert [(each.steps, each.checks, each.failure) for each in runs] == [(15, 4, None)] * 3
    assert all(each.first_alarm == line.split(": ", 1)[1] for each, line in zip(runs, said, strict=True))


class Killed(Exception):  # noqa: N818
    """What stops a run in these tests, as a signal would."""


def killer(calls):
    """Raises when it is called so often."""
    left = iter(range(calls - 1))

    def kill(_):
        if next(left, None) is None:
            raise Killed

    return kill


@pytest.mark.parametrize("ensemble", [ENSEMBLE, Ensemble("nvt", 1.0, 2000.0)], ids=["nve", "langevin"])
@pytest.mark.parametrize("action", ["save", "stop"])
def test_what_a_guard_knows_survives_a_kill(made, starts, tmp_path, action, ensemble):
    """Two batches, with the hot one in the first and another in its company; kills in both, and between checkpoints."""
    limit = {"support": None, "forces_std": 0.05} if action == "save" else {"support": 0.45}

    def work(name):
        (tmp_path / name).mkdir(exist_ok=True)
        guard = GuardSettings(action, file=tmp_path / name / "label.extxyz", spacing=12, interval=3, **limit)
        return batch(
            made,
            starts,
            tmp_path / name / "run",
            guard,
            checkpoint_interval=8,
            max_atoms=16,
            ensemble=ensemble,
            steps=40,
        )

    whole = work("whole")
    whole.run()
    assert whole.watch.summary().startswith("guard: ")
    assert "frames saved" in whole.watch.summary()
    kills = 0
    while True:
        last = work("cut")
        try:
            last.run(kills > 0, on_step=killer(9))  # calls: a checkpoint and one step more
            break
        except Killed:
            kills += 1
        frames = tmp_path / "cut" / "label.extxyz"
        if frames.is_file():  # a kill does not give it its name
            frames.rename(frames.with_name("label.extxyz.partial"))
    assert kills > 4
    assert last.watch.summary() == whole.watch.summary()
    names = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(names) == 5  # three trajectories, the summary and the guard's frames
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_a_guard_of_one_goes_on_too(made, starts, tmp_path):
    def settings(name):
        return GuardSettings("save", None, 1e-6, tmp_path / f"{name}.label.extxyz", spacing=10, interval=5)

    whole = alone(made, starts[0], settings("whole"), tmp_path / "whole.extxyz", checkpoint_interval=8)
    with pytest.raises(Killed):
        alone(made, starts[0], settings("cut"), tmp_path / "cut.extxyz", checkpoint_interval=8, on_step=killer(38))
    cut = alone(made, starts[0], settings("cut"), tmp_path / "cut.extxyz", checkpoint_interval=8, resume=True)
    assert whole.guard == cut.guard
    assert whole.guard.startswith(
        "guard: 13 of 13 checks beyond the limits, 7 frames saved, 10 steps apart or more; first"
    )
    for name in ("extxyz", "csv", "label.extxyz"):
        assert (tmp_path / f"whole.{name}").read_bytes() == (tmp_path / f"cut.{name}").read_bytes(), name


def test_a_run_goes_on_with_a_higher_limit(made, starts, tmp_path):
    """After a stop, where the user has looked at the frame and thinks better of it."""
    output = tmp_path / "hot.extxyz"
    with pytest.raises(GuardStop):
        alone(made, starts[HOT], GuardSettings("stop", interval=5), output, checkpoint_interval=2)
    ended = alone(made, starts[HOT], GuardSettings("stop", support=1e6), output, checkpoint_interval=2, resume=True)
    expected = alone(made, starts[HOT], None, tmp_path / "whole.extxyz")
    np.testing.assert_array_equal(ended.atoms.positions, expected.atoms.positions)


def test_a_guard_needs_error_bars(made, starts, tmp_path):
    model = TorchSimModel(made / "model.safetensors")
    with pytest.raises(InputError, match="needs a model with an uncertainty"):
        BatchedDynamics(starts, model, ENSEMBLE, 1, tmp_path / "run", guard=GuardSettings())
    with pytest.raises(InputError, match="no uncertainty"):
        model.estimate(None)


def test_md_of_many_with_a_guard(run, fails, made, starts, tmp_path):  # noqa: F811
    ase.io.write(tmp_path / "starts.extxyz", starts)
    command = ["md", made / "model.safetensors", tmp_path / "starts.extxyz", "--frame", ":", "--timestep", 1]
    command += ["--steps", 60, "--interval", 7, "-o", tmp_path / "runs", "--guard-interval", 5]
    assert "name a file of equinet uncertainty with --uncertainty" in fails(*command)
    command += ["--uncertainty", made / "one.safetensors"]
    assert "needs a file" in fails(*command, "--guard", "save")
    code, out, err = run(*command)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(f"equinet: warning: {tmp_path}/starts.extxyz: frame 1: the guard stopped it at step ")
    assert err.endswith(", beyond 1; the others go on\n")
    assert "3 structures, 60 steps" in out
    assert "; 1 left out or stopped" in out
    assert "guard: 1 of " in out
    assert run(*command, "--skip-bad", "-o", tmp_path / "again")[0] == 0


def test_a_committee_is_part_of_what_moves(run, fails, made, starts, tmp_path):  # noqa: F811
    """The same model alone is another one: a run does not go on with it."""
    ase.io.write(tmp_path / "start.extxyz", starts[HOT])
    command = ["md", made / "model.safetensors", tmp_path / "start.extxyz", "--timestep", 1, "--checkpoint", 2]
    command += ["--steps", 60, "--interval", 5, "-o", tmp_path / "run.extxyz"]
    assert ", beyond 1;" in fails(*command, "--uncertainty", made / "committee.safetensors")
    assert "is of a run with another model" in fails(*command, "--resume")
