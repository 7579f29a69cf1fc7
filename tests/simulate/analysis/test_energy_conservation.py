import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from equinet.errors import InputError
from equinet.simulate import run_md
from equinet.simulate.analysis.energy_conservation import (
    EnergyRecorder,
    EnergySeries,
    draw_energy_conservation,
    energy_conservation,
    read_energy_log,
)
from equinet.simulate.analysis.trajectory import Trajectory


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


def test_known_drift_and_fluctuation():
    rng = np.random.default_rng(0)
    times = np.linspace(5, 15, 4001)
    exchange = rng.standard_normal(len(times))
    noise = 2e-3 * rng.standard_normal(len(times))
    found = energy_conservation(EnergySeries(times, -50 - exchange + 4e-3 * times + noise, 5 + exchange, 10))
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
        energy_conservation(EnergySeries(times[::-1], times, times, 3))
    with pytest.raises(InputError, match="number 2 is not finite"):
        energy_conservation(EnergySeries(times, np.where(times == 2, np.nan, times), times, 3))
    with pytest.raises(InputError, match="no frames"):
        EnergyRecorder().finish()
