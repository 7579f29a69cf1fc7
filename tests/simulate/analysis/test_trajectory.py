import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.errors import InputError
from equinet.simulate import run_md
from equinet.simulate.analysis.trajectory import Trajectory


def copper(skewed=False):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    if skewed:
        atoms.set_cell(atoms.cell.array + np.array([[0, 0, 0], [0.4, 0, 0], [0.2, -0.3, 0]]), scale_atoms=True)
    return atoms


@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_frames_of_a_run_of_ours(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    run = run_md(copper(), EMT(), ensemble="nve", timestep=2.0, steps=12, temperature=300, output=path, interval=4)
    frames = list(Trajectory(path))
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_ps for frame in frames] == pytest.approx([0, 0.008, 0.016, 0.024])
    last = frames[-1]
    np.testing.assert_allclose(last.positions, run.atoms.positions, atol=1e-7)
    kinetic = 0.5 * np.sum(last.masses[:, None] * last.velocities**2) / (1000 * units.fs) ** 2
    assert kinetic == pytest.approx(run.kinetic_energies[-1], rel=1e-5)
    assert last.potential_energy == pytest.approx(run.potential_energies[-1], rel=1e-7)
    assert [f.number for f in Trajectory(path, start=1, stop=4, every=2)] == [1, 3]


def test_time_step_and_interval_where_the_file_has_none(tmp_path):
    path = tmp_path / "bare.extxyz"
    ase.io.write(path, [copper()] * 3)
    assert [frame.time_ps for frame in Trajectory(path)] == [None] * 3
    assert [frame.velocities for frame in Trajectory(path)] == [None] * 3
    assert [frame.time_ps for frame in Trajectory(path, timestep_fs=2.0)] == [None] * 3
    times = [frame.time_ps for frame in Trajectory(path, timestep_fs=2.0, interval=5)]
    assert times == pytest.approx([0, 0.01, 0.02])
    assert [frame.time_ps for frame in Trajectory(path, 1, timestep_fs=2.0, interval=5)] == pytest.approx([0.01, 0.02])


def test_torchsim_file_holds_the_same_frames(tmp_path):
    torch_sim = pytest.importorskip("torch_sim", reason="torch-sim is an extra")
    h5py = pytest.importorskip("h5py")
    from torch_sim.trajectory import TorchSimTrajectory

    structures = []
    rng = np.random.default_rng(0)
    for _ in range(3):
        atoms = copper(skewed=True)
        atoms.positions += 0.1 * rng.standard_normal((8, 3))
        atoms.set_velocities(0.01 * rng.standard_normal((8, 3)))
        structures.append(atoms)
    path = tmp_path / "run.h5"
    with TorchSimTrajectory(path, mode="w", coerce_to_float32=False) as file:
        for step, atoms in zip([0, 5, 10], structures, strict=True):
            state = torch_sim.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64)
            state.velocities = torch.tensor(atoms.get_velocities())
            file.write_state(state, step, save_velocities=True)
            file.write_arrays({"potential_energy": torch.tensor([-1.0 * step])}, step)
    frames = list(Trajectory(path, timestep_fs=2.0))
    assert [frame.time_ps for frame in frames] == pytest.approx([0, 0.01, 0.02])
    for k, (frame, atoms) in enumerate(zip(frames, structures, strict=True)):
        np.testing.assert_allclose(frame.positions, atoms.positions)
        np.testing.assert_allclose(frame.cell, atoms.cell.array)
        np.testing.assert_allclose(frame.velocities, atoms.get_velocities() * 1000 * units.fs)
        np.testing.assert_allclose(frame.masses, atoms.get_masses(), rtol=1e-4)
        assert frame.pbc.all()
        assert frame.potential_energy == pytest.approx(-5.0 * k)
    assert [frame.number for frame in Trajectory(path, start=2)] == [2]
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["data/positions"] = np.zeros((2, 3, 3))
    with pytest.raises(InputError, match="lacks atomic_numbers"):
        list(Trajectory(tmp_path / "foreign.h5"))
    (tmp_path / "broken.h5").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        list(Trajectory(tmp_path / "broken.h5"))
    with pytest.raises(InputError, match="no such file"):
        list(Trajectory(tmp_path / "absent.h5"))


def test_a_time_step_that_is_not_the_file_s_is_refused(tmp_path):
    path = tmp_path / "run.extxyz"
    run_md(copper(), EMT(), ensemble="nve", timestep=2.0, steps=4, temperature=300, output=path, interval=2)
    assert [frame.time_ps for frame in Trajectory(path, timestep_fs=2.0)] == pytest.approx([0, 0.004, 0.008])
    with pytest.raises(
        InputError, match=r"frame 1: .* step 2 is at 0\.004 ps, .* 1 fs it is at 0\.002 ps; leave --time"
    ):
        list(Trajectory(path, timestep_fs=1.0))


def test_other_atoms_are_refused(tmp_path):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [copper(), copper(), copper()[:4]])
    with pytest.raises(InputError, match="frame 2: not the atoms"):
        list(Trajectory(path))
    assert len(list(Trajectory(path, stop=2))) == 2


def test_bad_choices_of_frames(tmp_path):
    path = tmp_path / "one.extxyz"
    atoms = copper()
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    ase.io.write(path, [atoms])
    for choice in ({"start": 3, "stop": 3}, {"every": 0}, {"start": -1}, {"timestep_fs": 0.0}):
        with pytest.raises(InputError, match="make"):
            Trajectory(path, **choice)
    with pytest.raises(InputError, match="no "):
        list(Trajectory(path, start=5))
