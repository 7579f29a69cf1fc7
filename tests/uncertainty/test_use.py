"""Error bars where they are used: the file, the calculator, guards in dynamics, the command line, training."""

import json
import os
import shutil
import signal
import threading

import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

import equinet
from equinet.errors import DataWarning, InputError
from equinet.models import load_model, save_model
from equinet.simulate.guard import Guard, GuardStop
from equinet.simulate.watch import GuardSettings
from equinet.training.committee import committee_plan, train_committee
from equinet.uncertainty import load_uncertainty, save_uncertainty
from tests.cli.conftest import fails, run  # noqa: F401 fixtures
from tests.uncertainty.conftest import graph_of, small_potential, structure


@pytest.mark.parametrize("kind", ["one", "committee"])
def test_calculator_has_error_bars_when_asked(made, kind):
    calculator = equinet.Calculator(made / "model.safetensors", uncertainty=made / f"{kind}.safetensors")
    atoms = structure(7)
    atoms.calc = calculator
    forces = atoms.get_forces()
    assert "forces_std" not in calculator.results
    assert calculator.get_property("forces_std", atoms).shape == (8,)
    assert np.array_equal(atoms.get_forces(), forces)
    uncertainty = load_uncertainty(made / f"{kind}.safetensors", load_model(made / "model.safetensors"))
    estimate = uncertainty.estimate(graph_of(atoms, uncertainty.source.potentials[0]))
    assert calculator.results["forces_std"] == pytest.approx(estimate.forces_std, rel=1e-12)
    assert calculator.results["energy_std"] == pytest.approx(estimate.energy_std[0], rel=1e-12)
    assert calculator.results["support"] == pytest.approx(estimate.support, rel=1e-12)
    with pytest.raises(PropertyNotImplementedError):  # no calibration frame has a stress
        calculator.get_property("stress_std", atoms)
    members = [load_model(made / "model.safetensors"), load_model(made / "other.safetensors")]
    expected = [member(graph_of(atoms, member)).forces.numpy() for member in members]
    assert forces == pytest.approx(np.mean(expected, axis=0) if kind == "committee" else expected[0], abs=1e-12)


def test_without_uncertainty_there_are_no_error_bars(made):
    calculator = equinet.Calculator(made / "model.safetensors")
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("forces_std", structure(7))


def test_precision_of_the_model_does_not_matter(made):
    atoms = structure(7)
    single, double = (
        equinet.Calculator(made / "model.safetensors", dtype=dtype, uncertainty=made / "one.safetensors")
        for dtype in ("float32", "float64")
    )
    expected = double.get_property("forces_std", atoms)
    assert single.get_property("forces_std", atoms) == pytest.approx(expected, rel=1e-3)


def test_an_uncertainty_goes_with_its_model(made, tmp_path):
    with pytest.raises(InputError, match=r"was made for another model, model\.safetensors"):
        equinet.Calculator(made / "other.safetensors", uncertainty=made / "one.safetensors")
    for name in ("model.safetensors", "committee.safetensors"):
        shutil.copy(made / name, tmp_path)
    with pytest.raises(InputError, match=r"the committee's model .*other\.safetensors is missing"):
        equinet.Calculator(tmp_path / "model.safetensors", uncertainty=tmp_path / "committee.safetensors")
    save_model(small_potential(seed=9), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors is another one by now"):
        equinet.Calculator(tmp_path / "model.safetensors", uncertainty=tmp_path / "committee.safetensors")


def test_files_that_are_none(made, tmp_path):
    potential = load_model(made / "model.safetensors")
    with pytest.raises(InputError, match="no uncertainty file"):
        load_uncertainty(tmp_path / "absent.safetensors", potential)
    with pytest.raises(InputError, match="is no uncertainty file; equinet uncertainty makes one"):
        load_uncertainty(made / "model.safetensors", potential)
    whole = (made / "one.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        load_uncertainty(tmp_path / "half.safetensors", potential)


# in dynamics


def dynamics(made, temperature=300.0):
    atoms = structure(0, 0.02)
    atoms.calc = equinet.Calculator(made / "model.safetensors", uncertainty=made / "one.safetensors")
    momenta = (
        np.random.default_rng(0).normal(size=(8, 3)) * np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    )
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return atoms, VelocityVerlet(atoms, 1.0 * units.fs)


def test_guard_stops_hot_dynamics_and_names_the_atom(made):
    atoms, run_ = dynamics(made, 20_000.0)
    with Guard(atoms, GuardSettings("stop")) as guard:
        run_.attach(lambda: guard(run_.nsteps), interval=5)
        with pytest.raises(GuardStop, match=r"step \d+: the support of atom \d \((C|Si)\) is .*, beyond 1"):
            run_.run(500)
    assert run_.nsteps < 500


def test_guard_saves_frames_apart(made, tmp_path):
    atoms, run_ = dynamics(made)
    file = tmp_path / "uncertain.extxyz"
    with Guard(atoms, GuardSettings("save", None, 1e-6, file, spacing=20)) as guard:
        run_.attach(lambda: guard(run_.nsteps), interval=5)
        run_.run(40)
    saved = ase.io.read(file, ":")
    assert [frame.info["step"] for frame in saved] == [0, 20, 40]
    assert guard.summary().startswith(
        "guard: 9 of 9 checks beyond the limits, 3 frames saved, 20 steps apart or more; first, step 0: the stand"
    )
    calculator = equinet.Calculator(made / "model.safetensors", uncertainty=made / "one.safetensors")
    assert saved[1].get_forces() == pytest.approx(calculator.get_property("forces", saved[1]), abs=1e-6)
    assert saved[1].arrays["forces_std"] == pytest.approx(
        calculator.get_property("forces_std", saved[1].copy()), rel=1e-4
    )


def test_guard_warns_once_and_lets_good_dynamics_be(made):
    atoms, run_ = dynamics(made)
    with Guard(atoms, GuardSettings("warn", 1e-6)) as guard:
        run_.attach(lambda: guard(run_.nsteps), interval=5)
        with pytest.warns(DataWarning, match="beyond 1e-06") as caught:
            run_.run(20)
    assert len(caught) == 1
    with Guard(atoms, GuardSettings("stop", 1e6, 1e6)) as guard:
        guard(0)
    assert guard.summary() == "guard: 1 checks, all within the limits"


def test_guards_that_cannot_be(made, tmp_path):
    atoms, _ = dynamics(made)
    with pytest.raises(InputError, match="needs a limit"):
        GuardSettings("warn", None)
    with pytest.raises(InputError, match="needs a file"):
        GuardSettings("save")
    with pytest.raises(InputError, match="must end in"):
        GuardSettings("save", file=tmp_path / "frames.pdf")
    with pytest.raises(InputError, match="can warn, save or stop"):
        GuardSettings("run")
    atoms.calc = EMT()
    with pytest.raises(InputError, match="makes no sense"):
        GuardSettings(interval=0)
    with pytest.raises(InputError, match="a calculator with an uncertainty"):
        Guard(atoms, GuardSettings("warn"))


# on the command line


def test_md_stops_where_the_guard_says(run, fails, made, tmp_path):  # noqa: F811
    """The frame that it stopped at is the last of the trajectory; without limits in the way, what was seen is said."""
    ase.io.write(tmp_path / "start.extxyz", structure(0, 0.02))
    output = tmp_path / "run.extxyz"
    options = ["--timestep", "1", "--interval", "5", "-o", str(output), "--uncertainty", str(made / "one.safetensors")]
    start = ["md", str(made / "model.safetensors"), str(tmp_path / "start.extxyz"), *options]
    line = fails(*start, "--temperature", "20000", "--steps", "500", "--guard-output", str(tmp_path / "label.extxyz"))
    assert "the support of atom" in line
    stopped, last = ase.io.read(tmp_path / "label.extxyz"), ase.io.read(output)
    assert stopped.info["step"] == last.info["step"] < 500
    np.testing.assert_allclose(stopped.positions, last.positions, atol=1e-7)
    checkpoint = output.with_name("run.extxyz.checkpoint")
    assert f"raise the limit and go on with --resume ({checkpoint} is kept for it; remove it to start anew)" in line
    checkpoint.unlink()
    code, said, _ = run(*start, "--temperature", "10", "--steps", "10", "--max-support", "1e6")
    assert code == 0
    assert "guard: 3 checks, all within the limits" in said


@pytest.mark.parametrize("kind", ["one", "committee"])
def test_test_judges_error_bars(run, made, tmp_path, kind):  # noqa: F811
    command = ["test", made / "model.safetensors", made / "test.extxyz", "--uncertainty", made / f"{kind}.safetensors"]
    code, out, err = run(*command, "--report", tmp_path / "report")
    assert (code, err) == (0, "")
    assert "test: force components, meV/A" in out
    errors = json.loads((tmp_path / "report" / "errors.json").read_text())
    forces = errors["uncertainty"]["test"]["forces"]["methods"]
    assert set(forces) == {"sigma", "constant", "force size", "neighbour distance"}
    if kind == "one":
        assert forces["sigma"]["rmse"] == pytest.approx(errors["force_rmse_mev_per_angstrom"], rel=1e-6)
    assert sum(each["count"] for each in forces["sigma"]["bins"]) == 64
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>Error bars</h2>" in page
    assert page.count("neighbour distance") == 2
    assert (tmp_path / "report" / "reliability.png").stat().st_size > 10_000


def test_frames_that_were_used_are_counted(run, made):  # noqa: F811
    command = ["test", made / "model.safetensors", made / "calibrate.extxyz"]
    _, out, _ = run(*command, "--uncertainty", made / "one.safetensors")
    assert "12 of 12 frames are training or calibration frames of the uncertainty" in out


def test_bad_input_is_one_line(fails, made, tmp_path):  # noqa: F811
    model, train, held_out = (made / name for name in ("model.safetensors", "train.extxyz", "calibrate.extxyz"))
    common = ["uncertainty", model, "--train", train, "-o", tmp_path / "u.safetensors"]
    assert "are training frames too" in fails(*common, "--calibrate", train)
    assert "is one of the inputs; give the output another name" in fails(*common[:-1], model, "--calibrate", held_out)
    assert "must end in .safetensors" in fails(*common[:-1], tmp_path / "u.json", "--calibrate", held_out)
    assert "no model file" in fails("uncertainty", tmp_path / "none", *common[2:], "--calibrate", held_out)
    of_another = ["test", made / "other.safetensors", held_out, "--uncertainty", made / "one.safetensors"]
    assert "was made for another model" in fails(*of_another)
    ase.io.write(tmp_path / "few.extxyz", ase.io.read(held_out, ":4"))
    assert "a label of the energy: 4; " in fails(*common, "--calibrate", tmp_path / "few.extxyz")
    assert not (tmp_path / "u.safetensors").exists()


def test_a_committee_of_one_model_is_refused(fails, made, tmp_path):  # noqa: F811
    """Also under another name: error bars would be zero, whatever the structure. Files of before are refused too."""
    model, copy = made / "model.safetensors", tmp_path / "copy.safetensors"
    shutil.copy(model, copy)
    data = ["--train", made / "train.extxyz", "--calibrate", made / "calibrate.extxyz"]
    for models in ((model, model), (model, made / "other.safetensors", copy)):
        line = fails("uncertainty", *models, *data, "-o", tmp_path / "u.safetensors")
        assert f"{models[0]} and {models[-1]} are the same model" in line
    assert not (tmp_path / "u.safetensors").exists()
    uncertainty = load_uncertainty(made / "committee.safetensors", load_model(model))
    uncertainty.source.members = (uncertainty.source.members[0],) * 2
    save_uncertainty(uncertainty, made / "same.safetensors", [model, model])
    with pytest.raises(InputError, match=r"model\.safetensors and model\.safetensors are the same model"):
        load_uncertainty(made / "same.safetensors", load_model(model))


def test_a_committee_has_no_options_of_a_last_layer(run, fails, made, tmp_path):  # noqa: F811
    data = ["--train", made / "train.extxyz", "--calibrate", made / "calibrate.extxyz"]
    rest = [*data, "-o", tmp_path / "u.safetensors"]
    models = [made / "model.safetensors", made / "other.safetensors"]
    for option in ("--samples", "--force-frames"):
        assert f"{option} would have no effect: " in fails("uncertainty", *models, *rest, option, 5)
    assert run("uncertainty", models[0], *rest, "--samples", 2, "--force-frames", 5)[0] == 0
    uncertainty = load_uncertainty(tmp_path / "u.safetensors", load_model(models[0]))
    assert len(uncertainty.source.directions) == 2
    assert (uncertainty.facts["samples"], uncertainty.facts["force_frames"]) == (2, 5)


# training a committee


def test_members_differ_in_seed_and_frames(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("run_dir: from/config\nseed: 3\ndata:\n  split_seed: 5\n")
    plan = committee_plan(["--config", str(config), "--committee", "2", "--committee_subsets"])
    assert plan.of_member(1, plan.folder())[2:] == [
        "--run_dir", "from/config/member-2", "--seed", "4", "--data.split_seed", "6",
    ]  # fmt: skip
    assert committee_plan(["--config", str(config)]) is None
    subsets = ["--committee", "2", "--committee_subsets"]
    for arguments, message in (
        (["--committee", "1"], "2 or more"),
        (["--committee_subsets"], "is for committees"),
        (["--committee=3", "--ckpt_path", "last"], "--resume auto"),
        ([*subsets, "--data.train_path", "a", "--data.val_path", "b"], "would have no effect.*data.n_train"),
        ([*subsets, "--data.sample", "glycol", "--data.n_train", "null"], "would have no effect"),
    ):
        with pytest.raises(InputError, match=message):
            committee_plan(arguments)
    for drawn in (
        ["--data.sample", "glycol", "--data.train_path", "a"],
        ["--data.val_path", "b", "--data.n_train", "9"],
        ["--data.val_path", "b", "--data.val_path=null"],
    ):
        assert committee_plan([*subsets, *drawn]).subsets


def test_folder_of_a_committee(tmp_path):
    run_dir = ["--run_dir", str(tmp_path / "c")]
    assert committee_plan(["--committee", "2", *run_dir]).folder() == tmp_path / "c"
    (tmp_path / "c" / "member-1").mkdir(parents=True)
    assert committee_plan(["--committee", "2", *run_dir]).folder() == tmp_path / "c-2"
    assert committee_plan(["--committee", "2", *run_dir, "--resume", "auto"]).folder() == tmp_path / "c"


def test_a_failed_member_ends_the_committee(tmp_path, capfd):
    """The real command, with data that are not there."""
    arguments = ["--data.train_path", str(tmp_path / "none.extxyz"), "--run_dir", str(tmp_path / "c")]
    assert train_committee(committee_plan(["--committee", "2", *arguments])) == (1, [])
    out, err = capfd.readouterr()
    assert "none.extxyz" in err
    assert out.count("member") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_member_stopped_as_it_starts(tmp_path, capfd, name):
    """Before it listens to signals itself, which takes seconds."""
    plan = committee_plan(["--committee", "2", "--data.n_train", "4", "--run_dir", str(tmp_path / "c d")])
    threading.Timer(0.3, os.kill, (os.getpid(), signal.Signals[name])).start()
    assert train_committee(plan) == (128 + signal.Signals[name], [])
    out, err = capfd.readouterr()
    assert out == "member 1 of 2\n"
    assert err == (
        f"equinet: stopped by {name} in member 1 of 2; go on with the committee: equinet train --committee 2 "
        f"--data.n_train 4 --run_dir '{tmp_path}/c d' --resume auto\n"
    )
    assert signal.getsignal(signal.Signals[name]) == signal.SIG_DFL


def test_no_member_begins_after_a_signal(tmp_path, capfd, monkeypatch):
    """Which came when the one before had taken its last step."""

    def ends(self, command):
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr("equinet.training.committee._Stop.run", ends)
    plan = committee_plan(["--committee", "3", "--run_dir", str(tmp_path), "--resume", "auto"])
    code, models = train_committee(plan)
    assert (code, len(models)) == (143, 1)
    out, err = capfd.readouterr()
    assert out == "member 1 of 3\n"
    assert "before member 2 of 3; go on" in err
    assert err.count("--resume auto") == 1


def test_committee_is_trained(made, tmp_path, capfd):
    from equinet.cli.main import main

    options = {
        "model.architecture.cutoff": 3.0, "model.architecture.layers": 1, "model.architecture.channels": 2,
        "trainer.max_epochs": 1, "trainer.accelerator": "cpu", "run_dir": tmp_path / "c",
        "data.train_path": made / "train.extxyz",
    }  # fmt: skip
    arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    assert main(["train", "--committee", "2", *arguments]) == 0
    models = [load_model(tmp_path / "c" / f"member-{n}" / "model.safetensors") for n in (1, 2)]
    assert not np.allclose(*(model.model.embedding.numpy(force=True) for model in models))
    assert "committee of 2" in capfd.readouterr().out
