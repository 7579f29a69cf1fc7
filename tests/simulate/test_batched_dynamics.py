"""Dynamics of many structures: those of each alone, whatever happens to the others, and after a kill the same bytes."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk as crystal
from ase.io import read

from equinet.data import read_atoms
from equinet.errors import InputError
from equinet.files import WriteError
from equinet.simulate import Calculator, Ensemble, thermalize
from equinet.simulate.engine import AseEngine
from equinet.simulate.propagation import Propagator
from equinet.simulate.structures import molecule, slab
from equinet.simulate.trajectory_folder import trajectories_of
from equinet.simulate.verify import rattled
from equinet.units import EV_PER_A3_IN_GPA
from tests.simulate.conftest import small_potential

pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
from equinet import TorchSimModel
from equinet.simulate.batched_dynamics import BatchedDynamics

FLEXIBLE = {"name": "npt", "thermostat": "bussi", "barostat": "flexible", "barostat_time": 200.0}


def mixed():
    """Crystals of 8 and 2 atoms, a slab and a molecule."""
    cells = [crystal("Si", cubic=True), crystal("Si")]
    return [rattled(cell, 0.06, seed) for seed, cell in enumerate(cells)] + [slab([14], 3), molecule([6, 14], 1)]


def crystals():
    return [rattled(crystal("Si", cubic=True), 0.06, seed) for seed in range(3)]


def batch(structures, folder, steps=40, max_atoms=1000, **options):
    settings = {"name": "nve", "timestep": 1.0, "temperature": 300.0} | options.pop("ensemble", {})
    model = TorchSimModel(options.pop("potential", None) or small_potential())
    return BatchedDynamics(structures, model, Ensemble(**settings), steps, folder, max_atoms=max_atoms, **options)


def alone(index, atoms, ensemble, steps):
    """The same dynamics by ASE."""
    atoms = atoms.copy()
    thermalize(atoms, ensemble.temperature, [ensemble.seed, 2, index])
    atoms.calc = Calculator(small_potential())
    propagator = Propagator(AseEngine(atoms, ensemble), [atoms], ensemble, [index])
    observation = propagator.observe()
    for _ in range(steps):
        observation = propagator.advance(observation)
        assert not observation.failures
    return atoms


@pytest.mark.parametrize(
    ("structures", "ensemble"),
    [
        (mixed, {}),
        (mixed, {"name": "nvt", "thermostat": "bussi"}),
        (mixed, {"name": "nvt", "thermostat": "nose-hoover", "thermostat_time": 20.0}),
        (crystals, {"name": "npt", "thermostat": "bussi", "pressure": 5.0, "barostat_time": 200.0}),
        (crystals, FLEXIBLE),
    ],
    ids=["nve", "bussi", "nose-hoover", "npt", "flexible"],
)
def test_a_batch_moves_as_each_does_in_ase(tmp_path, structures, ensemble):
    from torch_sim import TorchSimTrajectory

    systems = structures()
    work = batch(systems, tmp_path / "run", 25, ensemble=ensemble, form="hdf5")
    runs = work.run()
    assert [(run.index, run.steps, run.failure) for run in runs] == [(i, 25, None) for i in range(len(systems))]
    for index, atoms in enumerate(systems):
        expected = alone(index, atoms, work.ensemble, 25)
        assert np.abs(expected.positions - atoms.positions).max() > 0.05
        with TorchSimTrajectory(tmp_path / "run" / f"{index}.h5") as file:
            assert file.get_steps("positions").tolist() == [0, 10, 20, 25]
            last = {name: file.get_array(name)[-1] for name in ("positions", "velocities", "cell", "potential_energy")}
        np.testing.assert_allclose(last["positions"], expected.positions, rtol=0, atol=1e-10)
        np.testing.assert_allclose(last["velocities"], expected.get_velocities(), rtol=0, atol=1e-10)
        np.testing.assert_allclose(last["cell"].T, expected.cell, rtol=0, atol=1e-10)
        assert last["potential_energy"][0] == pytest.approx(expected.get_potential_energy(), abs=1e-10)


def test_hdf5_has_the_same_frames(tmp_path):
    from torch_sim import TorchSimTrajectory

    systems = mixed()
    for form in ("extxyz", "hdf5"):
        batch(systems, tmp_path / form, form=form, steps=20, ensemble={"timestep": 0.7}).run()
    for index in range(len(systems)):
        frames = read(tmp_path / "extxyz" / f"{index}.extxyz", ":")
        with TorchSimTrajectory(tmp_path / "hdf5" / f"{index}.h5") as file:
            np.testing.assert_allclose(file.get_array("positions"), [f.positions for f in frames], atol=1e-8)
            np.testing.assert_allclose(file.get_array("forces"), [f.get_forces() for f in frames], atol=1e-8)
            energies = [[f.get_potential_energy()] for f in frames]
            np.testing.assert_allclose(file.get_array("potential_energy"), energies, atol=1e-6)
            assert file.get_steps("positions").tolist() == [0, 10, 20]
            np.testing.assert_array_equal(np.ravel(file.get_array("pbc")), frames[0].pbc)
        again = [atoms for _, atoms in read_atoms(tmp_path / "hdf5" / f"{index}.h5")]
        assert [atoms.info["step"] for atoms in again] == [0, 10, 20]
        assert [atoms.info["time_ps"] for atoms in again] == [frame.info["time_ps"] for frame in frames]
        for atoms, frame in zip(again, frames, strict=True):
            np.testing.assert_allclose(atoms.positions, frame.positions, atol=1e-8)
            np.testing.assert_allclose(atoms.cell.array, frame.cell.array, atol=1e-8)
            np.testing.assert_array_equal(atoms.numbers, frame.numbers)
            np.testing.assert_array_equal(atoms.pbc, frame.pbc)


@pytest.mark.parametrize("form", ["extxyz", "hdf5"])
def test_the_folder_is_no_trajectory_and_says_what_is(tmp_path, form):
    systems = crystals()[:2]
    runs = batch([Atoms("O"), *systems], tmp_path / "run", form=form, steps=2).run()
    assert runs[0].failure
    name = "1.extxyz" if form == "extxyz" else "1.h5"
    with pytest.raises(InputError, match=rf"run: a folder of 2 trajectories .* such as {tmp_path}/run/{name}$"):
        read_atoms(tmp_path / "run")


class Killed(Exception):  # noqa: N818
    """What stops a run in these tests, as a signal would: nothing catches it."""


@pytest.mark.parametrize(
    ("structures", "ensemble", "form"),
    [
        (mixed, {"name": "nvt", "thermostat": "bussi"}, "extxyz"),
        (mixed, {"name": "nvt", "thermostat": "langevin"}, "hdf5"),
        (mixed, {"name": "nvt", "thermostat": "nose-hoover"}, "extxyz"),
        (mixed, {"name": "nvt", "thermostat": "langevin"}, "extxyz"),
        (crystals, FLEXIBLE, "extxyz"),
    ],
    ids=["bussi", "langevin-hdf5", "nose-hoover", "langevin", "flexible"],
)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, structures, ensemble, form):
    def at(mark):
        def kill(done):
            if done >= mark:
                raise Killed

        return kill

    systems = structures()
    options = {
        "ensemble": ensemble,
        "max_atoms": 12,
        "checkpoint_interval": 8,
        "form": form,
    }
    batch(systems, tmp_path / "whole", steps=30, **options).run()
    for number, part in enumerate([0.29, 0.58, 0.87]):  # of the steps of all systems, in two batches or more
        mark = part * 30 * len(systems)
        with pytest.raises(Killed):
            batch(systems, tmp_path / "cut", steps=30, **options).run(number > 0, on_step=at(mark))
        assert (tmp_path / "cut" / "checkpoint.npz").is_file()
    batch(systems, tmp_path / "cut", steps=30, **options).run(True)
    for name in (path.name for path in (tmp_path / "whole").iterdir()):
        if name.endswith(".h5"):
            from torch_sim import TorchSimTrajectory

            with (
                TorchSimTrajectory(tmp_path / "whole" / name) as one,
                TorchSimTrajectory(tmp_path / "cut" / name) as two,
            ):
                for array in ("positions", "velocities", "forces", "potential_energy"):
                    np.testing.assert_array_equal(one.get_array(array), two.get_array(array))
                    np.testing.assert_array_equal(one.get_steps(array), two.get_steps(array))
        else:
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
    assert not (tmp_path / "cut" / "checkpoint.npz").exists()


def test_what_cannot_be_is_named_and_the_rest_go_on(tmp_path):
    systems = mixed()
    systems.insert(1, Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]]))
    systems.insert(3, Atoms("Si2", np.zeros((2, 3))))
    told = []
    runs = batch(systems, tmp_path / "run").run(on_failure=told.append)
    assert [run.steps for run in runs] == [40, 0, 40, 0, 40, 40]
    assert "does not know O" in runs[1].failure
    assert "at one place" in runs[3].failure
    assert told == [runs[1], runs[3]]
    alone_too = batch(mixed(), tmp_path / "good")
    alone_too.run()
    assert len(list((tmp_path / "run").glob("*.extxyz"))) == 4
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [each["failure"] is None for each in summary["systems"]] == [True, False, True, False, True, True]


def test_a_run_that_was_interrupted_has_no_summary_yet(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(crystals(), tmp_path, steps=2).run(on_step=interrupt)
    assert trajectories_of(tmp_path) is None
    batch(crystals(), tmp_path, steps=2).run(resume=True)
    assert trajectories_of(tmp_path) == [tmp_path / f"{number}.extxyz" for number in range(len(crystals()))]


def test_one_that_explodes_stops_and_the_others_do_not_notice(tmp_path):
    systems = crystals()
    wild = Atoms("Si2", [[0, 0, 0], [0, 0, 1.9]], cell=[9, 9, 9], pbc=True)
    wild.set_masses([1e-3, 28.0])  # in a step of 1 fs it flies
    systems.insert(1, wild)
    told = []
    runs = batch(systems, tmp_path / "run").run(on_failure=told.append)
    assert [run.index for run in told] == [1]
    assert "exploded at step" in runs[1].failure
    assert "atoms Si 0" in runs[1].failure
    frames = read(tmp_path / "run" / "1.extxyz", ":")
    assert frames[-1].info["step"] == runs[1].steps
    assert np.isfinite(frames[-1].get_forces()).all()
    for index in (0, 2, 3):
        assert runs[index].steps == 40
        last = read(tmp_path / "run" / f"{index}.extxyz", "-1")
        expected = alone(index, systems[index], Ensemble("nve", 1.0, 300.0), 40)
        np.testing.assert_allclose(last.positions, expected.positions, atol=2e-8)


class Soft(TorchSimModel):
    """Matter that resists nothing where it is thin; else 20 GPa."""

    def forward(self, state, **more):
        results = super().forward(state, **more)
        thin = torch.linalg.det(state.cell).abs() > 300
        results["stress"] = torch.where(thin, 0.0, -20.0 / EV_PER_A3_IN_GPA)[:, None, None] * torch.eye(3)
        results["forces"][:] = 0.0
        return results


def test_a_cell_that_collapses_stops_alone(tmp_path):
    """The crystal beside it stands the pressure."""
    thin = crystal("Si", cubic=True, a=10.0)
    systems = [crystals()[0], thin]
    constants = {"thermostat": "bussi", "pressure": 20.0, "barostat_time": 50.0, "compressibility": 0.02}
    ensemble = Ensemble("npt", 2.0, 300.0, **constants)
    model = Soft(small_potential())
    told = []
    runs = BatchedDynamics(systems, model, ensemble, 60, tmp_path / "run", interval=7).run(on_failure=told.append)
    assert [run.index for run in told] == [1]
    assert runs[0].steps == 60
    assert f"exploded at step {runs[1].steps + 1}: the cell collapsed: " in runs[1].failure
    last = read(tmp_path / "run" / "1.extxyz")
    assert last.info["step"] == runs[1].steps
    assert last.get_volume() > 0.4 * thin.get_volume()


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of its own of a size, kB; and what makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a file system cannot be mounted here")
        return folder, lambda: subprocess.run(["mount", "-o", "remount,size=32m", folder], check=True)

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("form", "size"), [("extxyz", 100), ("hdf5", 280)])
def test_a_full_disk_is_one_line_and_the_run_can_go_on(tmp_path, small_disk, form, size):
    folder, enlarge = small_disk(size)
    options = {"interval": 1, "checkpoint_interval": 5, "steps": 40, "form": form}
    systems = crystals()[:2]
    with pytest.raises(WriteError, match=r"cannot write .*: [nN]o space .*(go on|--resume)") as caught:
        batch(systems, folder / "cut", **options).run()
    assert "\n" not in str(caught.value)
    enlarge()
    batch(systems, folder / "cut", **options).run(resume=True)
    batch(systems, tmp_path / "whole", **options).run()
    for index in range(2):
        if form == "extxyz":
            one, two = ((place / f"{index}.extxyz").read_bytes() for place in (tmp_path / "whole", folder / "cut"))
            assert one == two
        else:
            from torch_sim import TorchSimTrajectory

            paths = [place / f"{index}.h5" for place in (tmp_path / "whole", folder / "cut")]
            with TorchSimTrajectory(paths[0]) as whole, TorchSimTrajectory(paths[1]) as cut:
                np.testing.assert_array_equal(whole.get_array("positions"), cut.get_array("positions"))
                assert whole.get_steps("positions").tolist() == cut.get_steps("positions").tolist()


def test_no_space_left_is_one_line_and_the_run_can_go_on(tmp_path):
    import resource

    systems = crystals()
    options = {"interval": 1, "checkpoint_interval": 10, "steps": 40}
    batch(systems, tmp_path / "whole", **options).run()
    full = (tmp_path / "whole" / "0.extxyz").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(0.7 * full), hard))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*0.extxyz: .*go on with --resume") as caught:
            batch(systems, tmp_path / "cut", **options).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert len(read(tmp_path / "cut" / "0.extxyz", ":")) > 20
    batch(systems, tmp_path / "cut", **options).run(resume=True)
    assert (tmp_path / "cut" / "0.extxyz").read_bytes() == (tmp_path / "whole" / "0.extxyz").read_bytes()


def test_errors(tmp_path):
    def interrupted(done):
        if done > 60:
            raise Killed

    systems = crystals()
    with pytest.raises(Killed):
        batch(systems, tmp_path / "run", checkpoint_interval=5).run(resume=True, on_step=interrupted)
    with pytest.raises(InputError, match="interrupted"):
        batch(systems, tmp_path / "run").run()
    with pytest.raises(InputError, match="another structures"):
        batch(mixed(), tmp_path / "run").run(resume=True)
    with pytest.raises(InputError, match="another ensemble"):
        batch(systems, tmp_path / "run", ensemble={"temperature": 200.0}).run(resume=True)
    with pytest.raises(InputError, match="format"):
        batch(systems, tmp_path / "run", form="pdb")
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"no")
    with pytest.raises(InputError, match="damaged"):
        batch(systems, tmp_path / "run").run(resume=True)
    runs = batch([molecule([14], 1)], tmp_path / "open", ensemble={"name": "npt"}).run()
    assert "three periodic directions" in runs[0].failure
    for resume in (False, True):
        with pytest.raises(InputError, match="has a run that has ended"):
            batch([molecule([14], 1)], tmp_path / "open").run(resume)


def test_killed_before_the_first_checkpoint_it_goes_on_from_the_start(tmp_path):
    def killed(done):
        if done > 3:
            raise Killed

    systems = crystals()
    batch(systems, tmp_path / "whole", 12).run()
    with pytest.raises(Killed):
        batch(systems, tmp_path / "cut", 12).run(on_step=killed)
    with pytest.raises(InputError, match="interrupted"):
        batch(systems, tmp_path / "cut", 12).run()
    batch(systems, tmp_path / "cut", 12).run(resume=True)
    for name in ("0.extxyz", "1.extxyz", "summary.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_pressure_of_each_is_that_of_ase(tmp_path):
    systems = crystals()
    ensemble = {"name": "npt", "thermostat": "bussi", "pressure": 5.0, "barostat_time": 200.0}
    work = batch(systems, tmp_path / "run", 20, ensemble=ensemble)
    for index, run in enumerate(work.run()):
        atoms = systems[index].copy()
        thermalize(atoms, work.ensemble.temperature, [work.ensemble.seed, 2, index])
        atoms.calc = Calculator(small_potential())
        alone = Propagator(AseEngine(atoms, work.ensemble), [atoms], work.ensemble, [index])
        seen = [alone.observe()]
        for _ in range(20):
            seen.append(alone.advance(seen[-1]))
        expected = np.mean([float(seen[step].pressures[0]) for step in (10, 20)])
        assert run.pressure_gpa == pytest.approx(expected, abs=1e-8)
