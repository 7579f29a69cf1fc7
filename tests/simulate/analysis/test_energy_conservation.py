import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from equinet.errors import InputError
from equinet.simulate import run_md
from equinet.simulate.analysis.energy_conservation import (
    EnergyRecorder,
    EnergySeries,
    draw_energy_conservation,
    energy_conservation,
    read_energy_log,
)
from equinet.simulate.analysis.motion import MotionRecorder
from equinet.simulate.analysis.trajectory import Trajectory
from tests.simulate.analysis.frames import dioxide, trimer

LANGEVIN = {"ensemble": "nvt", "thermostat": "langevin", "friction": 0.02}
BUSSI = {"ensemble": "nvt", "thermostat": "bussi"}


def copper(fixed=()):
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint([FixAtoms(fixed)] if fixed else [])
    return atoms


@pytest.fixture(scope="module")
def nve(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nve")
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    run = run_md(
        copper, EMT(), ensemble="nve", timestep=3.0, steps=150, temperature=600.0, interval=3,
        output=folder / "run.traj", log=folder / "run.csv",
    )  # fmt: skip
    return folder, run


def test_log_and_frames_say_what_the_run_says(nve):
    folder, run = nve
    log = energy_conservation(read_energy_log(folder / "run.csv", 32))
    drift = run.energy_drift()
    assert log.drift_mev_per_atom_per_ps == pytest.approx(drift.slope, rel=1e-9)
    assert log.drift_error_mev_per_atom_per_ps == pytest.approx(drift.error, rel=1e-9)
    assert log.constant_energy
    assert log.samples == 151
    assert log.mean_temperature_k == pytest.approx(run.temperatures.mean(), rel=1e-9)
    recorder = EnergyRecorder()
    for frame in Trajectory(folder / "run.traj"):
        recorder.add(frame)
    frames = recorder.finish()
    np.testing.assert_allclose(frames.kinetic_ev, run.kinetic_energies[::3], rtol=1e-9)
    np.testing.assert_allclose(frames.potential_ev, run.potential_energies[::3], rtol=1e-9)
    np.testing.assert_allclose(frames.times_ps, run.times[::3])
    draw_energy_conservation(log)


@pytest.mark.parametrize(
    ("atoms", "settings", "freedom"),
    [
        (trimer(), BUSSI, 3),
        (trimer(), LANGEVIN, 9),
        (dioxide(), BUSSI, 4),
        (copper(), BUSSI, 9),
        (copper(), LANGEVIN, 12),
        (copper([0]), {"ensemble": "nve"}, 9),
        (copper([0, 1]), LANGEVIN, 6),
    ],
    ids=["molecule", "molecule-langevin", "linear", "crystal", "crystal-langevin", "fixed", "fixed-langevin"],
)
def test_temperatures_are_those_of_the_run(tmp_path, atoms, settings, freedom):
    """Of what moves: whether the whole turns and flies is up to the thermostat."""
    path = tmp_path / "run.extxyz"
    options = {"timestep": 1.0, "steps": 300, "temperature": 300.0, "interval": 3, "log": tmp_path / "run.csv"}
    run = run_md(atoms, atoms.calc or EMT(), output=path, **options, **settings)
    np.testing.assert_allclose(run.temperatures, 2 * run.kinetic_energies / (freedom * units.kB), rtol=1e-9)
    log = energy_conservation(read_energy_log(tmp_path / "run.csv", len(atoms)))
    assert log.mean_temperature_k == pytest.approx(run.temperatures.mean(), rel=1e-9)
    energies, motion = EnergyRecorder(), MotionRecorder()
    for frame in Trajectory(path):
        energies.add(frame)
        motion.add(frame)
    expected = pytest.approx(run.temperatures[::3].mean(), rel=1e-5)
    assert energy_conservation(energies.finish()).mean_temperature_k == expected
    assert motion.finish().temperature_k == expected


def test_known_drift_and_fluctuation():
    rng = np.random.default_rng(0)
    times = np.linspace(5, 15, 4001)
    exchange = rng.standard_normal(len(times))
    noise = 2e-3 * rng.standard_normal(len(times))
    found = energy_conservation(
        EnergySeries(times, -50 - exchange + 4e-3 * times + noise, 5 + exchange, 1e3 * (5 + exchange), 10)
    )
    assert found.drift_mev_per_atom_per_ps == pytest.approx(0.4, abs=4 * found.drift_error_mev_per_atom_per_ps)
    assert found.drift_error_mev_per_atom_per_ps < 0.005
    assert found.fluctuation_mev_per_atom == pytest.approx(0.2, rel=0.05)
    assert found.kinetic_fluctuation_mev_per_atom == pytest.approx(100, rel=0.05)
    assert found.duration_ps == 10


def test_a_bath_is_told_from_constant_energy(tmp_path):
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    run_md(
        copper, EMT(), ensemble="nvt", timestep=4.0, steps=150, temperature=600.0, friction=0.05, log=tmp_path / "t.csv"
    )
    assert not energy_conservation(read_energy_log(tmp_path / "t.csv", 32)).constant_energy


def test_what_is_missing_is_named(nve, tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_energy_log(tmp_path / "absent.csv", 3)
    (tmp_path / "foreign.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no log of equinet md"):
        read_energy_log(tmp_path / "foreign.csv", 3)
    times = np.arange(5.0)
    with pytest.raises(InputError, match="do not grow"):
        energy_conservation(EnergySeries(times[::-1], times, times, times, 3))
    with pytest.raises(InputError, match="number 2 is not finite"):
        energy_conservation(EnergySeries(times, np.where(times == 2, np.nan, times), times, times, 3))
    with pytest.raises(InputError, match="no frames"):
        EnergyRecorder().finish()
