"""Thermostats, constant pressure, runs that go on after a kill, and what ends a run."""

import resource

import numpy as np
import pytest
from ase import units
from ase.build import bulk as crystal
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from equinet.errors import InputError
from equinet.files import WriteError
from equinet.simulate import Calculator, Ensemble, ExplosionError, run_md, structures, thermalize
from equinet.simulate.dynamics import run_ensemble
from equinet.simulate.velocities import degrees_of_freedom
from equinet.units import EV_PER_A3_IN_GPA


def copper(repeat=2):
    return crystal("Cu", cubic=True) * (repeat, repeat, repeat)


class Killed(Exception):  # noqa: N818
    """What stops a run in these tests, as a signal would: nothing catches it."""


ENSEMBLES = {
    "nve": {"name": "nve"},
    "langevin": {"name": "nvt", "thermostat": "langevin"},
    "bussi": {"name": "nvt", "thermostat": "bussi"},
    "nose-hoover": {"name": "nvt", "thermostat": "nose-hoover"},
    "npt": {"name": "npt", "thermostat": "bussi", "pressure": 2.0, "barostat_time": 100.0, "barostat_interval": 3},
}
ENSEMBLES["flexible"] = ENSEMBLES["npt"] | {"barostat": "flexible"}


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_a_killed_run_goes_on_to_the_same_bits(potential, tmp_path, name, suffix):
    ensemble = Ensemble(timestep=2.0, temperature=300.0, **ENSEMBLES[name])

    def run(folder, mark=None, resume=False):
        def kill(step):
            if step == mark:
                raise Killed

        folder.mkdir(exist_ok=True)
        files = {"output": folder / f"run.{suffix}", "log": folder / "run.csv"}
        options = {"interval": 4, "checkpoint_interval": 5, "resume": resume, "on_step": kill}
        return run_ensemble(structures.bulk([14], 1), Calculator(potential), ensemble, 22, **files, **options)

    whole = run(tmp_path / "whole")
    for number, mark in enumerate([8, 14]):
        with pytest.raises(Killed):
            run(tmp_path / "cut", mark, resume=number > 0)
    with pytest.raises(InputError, match="interrupted"):
        run(tmp_path / "cut")
    again = run(tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(again.atoms.positions, whole.atoms.positions)
    np.testing.assert_array_equal(again.atoms.get_momenta(), whole.atoms.get_momenta())
    np.testing.assert_array_equal(again.atoms.cell, whole.atoms.cell)
    np.testing.assert_array_equal(again.total_energies, whole.total_energies)
    assert (tmp_path / "cut" / "run.csv").read_bytes() == (tmp_path / "whole" / "run.csv").read_bytes()
    one, two = (read(tmp_path / folder / f"run.{suffix}", ":") for folder in ("whole", "cut"))
    assert [frame.info["step"] for frame in two] == [0, 4, 8, 12, 16, 20, 22]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.get_forces(), b.get_forces())
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["run.csv", f"run.{suffix}"]


def test_only_the_same_run_goes_on(tmp_path):
    def run(steps=20, resume=True, timestep=2.0, mark=None):
        def kill(step):
            if step == mark:
                raise Killed

        files = {"output": tmp_path / "run.extxyz", "log": tmp_path / "run.csv"}
        ensemble = Ensemble(timestep=timestep, temperature=300.0)
        return run_ensemble(
            copper(1), EMT(), ensemble, steps, **files, checkpoint_interval=5, resume=resume, on_step=kill
        )

    with pytest.raises(Killed):
        run(mark=3)  # nothing is there yet, so it begins; there is a checkpoint of step 0
    with pytest.raises(Killed):
        run(mark=12)
    with pytest.raises(InputError, match="another ensemble"):
        run(timestep=1.0)
    with pytest.raises(InputError, match="already"):
        run(steps=8)
    assert len(run(steps=30).times) == 31
    assert not (tmp_path / "run.extxyz.checkpoint").exists()
    with pytest.raises(InputError, match="has ended; leave out --resume to run it anew"):
        run(steps=40)


def test_no_space_left_keeps_what_was_written(tmp_path):
    output = tmp_path / "run.extxyz"
    settings = {"ensemble": "nve", "timestep": 1.0, "steps": 60, "temperature": 300.0, "interval": 1}
    run_md(copper(1), EMT(), **settings, output=output)
    size = output.stat().st_size
    output.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(
            WriteError, match=r"cannot write .*run.extxyz.partial: File too large; what was written"
        ) as caught:
            run_md(copper(1), EMT(), **settings, output=output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    frames = read(output, ":")
    assert 25 < len(frames) < 31
    assert frames[-1].info["step"] == len(frames) - 1


def test_a_collapsing_cell_stops_the_run(tmp_path):
    output = tmp_path / "run.extxyz"
    settings = {"thermostat": "bussi", "pressure": 500.0, "barostat_time": 20.0, "compressibility": 0.01}
    with pytest.raises(ExplosionError, match=r"the cell collapsed: .* are left; atoms Cu") as caught:
        run_md(copper(1), Soft(), ensemble="npt", timestep=2.0, steps=500, temperature=300, output=output, **settings)
    assert "\n" not in str(caught.value)
    assert read(output).get_volume() > 0.4 * copper(1).get_volume()


def test_a_flexible_cell_comes_to_rest_and_an_isotropic_one_keeps_its_shape(tmp_path):
    """A cubic crystal that was stretched and sheared is cubic again, and its mean stress is the pressure."""
    start = copper()
    start.set_cell(start.cell.array @ [[1.04, 0.03, 0.0], [0.0, 0.98, 0.0], [0.0, 0.0, 0.98]], scale_atoms=True)
    found = {}
    for barostat in ("isotropic", "flexible"):
        cells, stresses = [], []
        settings = {"thermostat": "bussi", "barostat": barostat, "barostat_time": 40.0, "barostat_interval": 2}
        settings |= {"output": tmp_path / f"{barostat}.extxyz", "interval": 2}
        run_md(start, EMT(), ensemble="npt", timestep=4.0, steps=600, temperature=30, **settings)
        for frame in read(settings["output"], "150:"):
            cells.append(frame.cell.cellpar())
            stresses.append(frame.get_stress(include_ideal_gas=True))
        found[barostat] = np.mean(cells, axis=0), np.mean(stresses, axis=0) * EV_PER_A3_IN_GPA
    shape, stress = found["isotropic"]
    begun = start.cell.cellpar()
    np.testing.assert_allclose(shape[:3] / shape[0], begun[:3] / begun[0], rtol=1e-9)
    np.testing.assert_allclose(shape[3:], begun[3:], rtol=1e-9)
    assert abs(stress).max() > 2.0
    shape, stress = found["flexible"]
    # at 30 K the strains of so few atoms fluctuate by 0.005, about means of some three independent moments
    np.testing.assert_allclose(shape[:3] / shape[:3].mean(), 1.0, atol=0.01)
    np.testing.assert_allclose(shape[3:], 90.0, atol=0.5)
    assert abs(stress).max() < 0.6


def test_what_has_no_shape_is_stopped():
    settings = {"thermostat": "bussi", "barostat": "flexible", "barostat_time": 100.0, "barostat_interval": 1}
    ideal = {"pressure": 4 * units.kB * 300 / copper(1).get_volume() * EV_PER_A3_IN_GPA, "compressibility": 3.0}
    with pytest.raises(ExplosionError, match="a liquid has no shape, and needs the isotropic barostat"):
        run_md(copper(1), Soft(), ensemble="npt", timestep=2.0, steps=3000, temperature=300, **settings, **ideal)


class Soft(ASECalculator):
    """Matter that resists nothing."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def test_explosions_name_the_atom(tmp_path):
    atoms = copper()
    masses = atoms.get_masses()
    masses[5] = 1e-3
    atoms.set_masses(masses)
    with pytest.raises(ExplosionError, match=r"atoms Cu 5"):
        run_md(atoms, EMT(), ensemble="nve", timestep=5.0, steps=50, temperature=300)


def test_the_thermostats_are_ase_s_with_the_right_degrees_of_freedom():
    steps, temperature = 60, 500.0
    start = copper()
    thermalize(start, temperature, 0)
    ours = run_md(
        start, EMT(), ensemble="nvt", timestep=4.0, steps=steps, temperature=temperature, thermostat="nose-hoover"
    )
    theirs = start.copy()
    theirs.calc = EMT()
    dynamics = NoseHooverChainNVT(theirs, 4.0 * units.fs, temperature, tdamp=100.0 * units.fs)
    dynamics._thermostat = NoseHooverChainThermostat(len(start) - 1, dynamics.masses, temperature, 100.0 * units.fs)
    for _ in range(steps):
        dynamics.step()
    np.testing.assert_allclose(ours.atoms.positions, theirs.positions, rtol=0, atol=1e-9)
    assert np.abs(theirs.positions - start.positions).max() > 0.2
    ours = run_md(start, EMT(), ensemble="nvt", timestep=4.0, steps=steps, temperature=temperature, thermostat="bussi")
    theirs = start.copy()
    theirs.calc = EMT()
    dynamics = Bussi(theirs, 4.0 * units.fs, temperature, 100.0 * units.fs, np.random.default_rng([0, 1]))
    dynamics.ndof = degrees_of_freedom(start)
    dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
    for _ in range(steps):
        VelocityVerlet.step(dynamics)
        dynamics.scale_velocities()
    np.testing.assert_allclose(ours.atoms.positions, theirs.positions, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "nvt", "temperature": 0.0}, "nvt needs a temperature above 0 K"),
        ({"name": "npt", "temperature": None}, "npt needs a temperature above 0 K"),
        ({"thermostat": "magic"}, "thermostat"),
        ({"thermostat_time": 0.0}, "thermostat time"),
        ({"barostat_time": -1.0}, "barostat time"),
        ({"barostat": "cubic"}, "unknown barostat 'cubic'; there are isotropic, flexible"),
        ({"compressibility": 0.0}, "compressibility"),
        ({"pressure": float("nan")}, "pressure"),
    ],
)
def test_ensembles_that_cannot_be(change, words):
    with pytest.raises(InputError, match=words) as caught:
        Ensemble(**({"name": "nvt", "temperature": 300.0} | change))
    assert "\n" not in str(caught.value)


def test_constant_pressure_needs_a_cell_and_free_atoms():
    settings = {"ensemble": "npt", "timestep": 1.0, "steps": 1, "temperature": 300}
    with pytest.raises(InputError, match="three periodic directions"):
        run_md(structures.molecule([29], 1), EMT(), **settings)
    fixed = copper(1)
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="fixed"):
        run_md(fixed, EMT(), **settings)
