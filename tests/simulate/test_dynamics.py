import csv

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk as crystal
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read

from equinet.errors import InputError
from equinet.simulate import Calculator, ExplosionError, run_md, structures, thermalize
from equinet.simulate.velocities import degrees_of_freedom


def copper(repeat=2):
    return crystal("Cu", cubic=True) * (repeat, repeat, repeat)


@pytest.mark.parametrize(
    ("atoms", "freedom"),
    [
        (copper(), 93),
        (structures.molecule([14], 1), 15),
        (Atoms("CO2", [[0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]]), 4),
        (Atoms("Si"), 0),
        (structures.wire([14]), 15),
    ],
    ids=["bulk", "molecule", "linear", "atom", "wire"],
)
def test_start_has_the_temperature_and_neither_drifts_nor_turns(atoms, freedom):
    thermalize(atoms, 500.0, seed=4)
    assert degrees_of_freedom(atoms) == freedom
    assert 2 * atoms.get_kinetic_energy() == pytest.approx(freedom * units.kB * 500.0, rel=1e-12)
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)
    if not atoms.pbc.any():
        np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-10)


def test_start_is_maxwell_boltzmann_and_seeded():
    atoms = crystal("NaCl", "rocksalt", a=5.64, cubic=True) * (6, 6, 6)
    thermalize(atoms, 300.0, seed=1)
    first = atoms.get_momenta()
    for symbol in ("Na", "Cl"):
        chosen = atoms.symbols == symbol
        spread = first[chosen].std() ** 2 / atoms.get_masses()[chosen][0]
        assert spread == pytest.approx(units.kB * 300, rel=0.05)
    thermalize(atoms, 300.0, seed=1)
    np.testing.assert_array_equal(atoms.get_momenta(), first)
    thermalize(atoms, 300.0, seed=2)
    assert not np.allclose(atoms.get_momenta(), first)


def test_start_leaves_fixed_atoms_alone():
    atoms = copper()
    atoms.set_constraint(FixAtoms([0, 1]))
    thermalize(atoms, 300.0)
    np.testing.assert_array_equal(atoms.get_momenta()[:2], 0)
    assert degrees_of_freedom(atoms) == 90
    assert 2 * atoms.get_kinetic_energy() == pytest.approx(90 * units.kB * 300.0)


def test_velocities_that_are_given_may_fly_and_turn():
    """A run at constant energy that goes on from one whose bath moved the whole molecule is as hot as it was."""
    start = Atoms("Cu3", [[0, 0, 0], [2.3, 0, 0], [1.15, 2.0, 0]])
    for friction in (0.05, None):
        settings = {"ensemble": "nve"} if friction is None else {"ensemble": "nvt", "friction": friction}
        temperature = None if friction is None else 300.0
        run = run_md(start, EMT(), timestep=1.0, steps=200, temperature=temperature, **settings)
        np.testing.assert_allclose(run.temperatures, 2 * run.kinetic_energies / (9 * units.kB))
        start = run.atoms
    thermalize(start, 300.0)
    run = run_md(start, EMT(), ensemble="nve", timestep=1.0, steps=1)
    assert run.temperatures[0] == pytest.approx(300.0)


def test_nve_conserves_energy_and_writes_what_it_did(tmp_path):
    start = copper()
    start.info["energy"] = 5.0  # would clash with the results
    steps = []
    run = run_md(
        start,
        EMT(),
        ensemble="nve",
        timestep=2.0,
        steps=105,
        temperature=600.0,
        seed=3,
        output=tmp_path / "run.extxyz",
        log=tmp_path / "run.csv",
        interval=10,
        on_step=steps.append,
    )
    assert steps == list(range(106))
    assert run.times[-1] == pytest.approx(0.21)
    assert run.temperatures[0] == pytest.approx(600.0)
    assert np.ptp(run.total_energies) < 0.02 * np.ptp(run.kinetic_energies)
    assert not start.has("momenta")
    frames = read(tmp_path / "run.extxyz", index=":")
    assert [frame.info["step"] for frame in frames] == [*range(0, 101, 10), 105]
    last = frames[-1]
    assert last.get_potential_energy() == pytest.approx(run.potential_energies[-1])
    assert last.get_kinetic_energy() == pytest.approx(run.kinetic_energies[-1], rel=1e-4)
    np.testing.assert_allclose(last.get_forces(), run.atoms.get_forces(), atol=1e-6)
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))
    assert len(rows) == 106
    assert float(rows[7]["temperature_k"]) == pytest.approx(run.temperatures[7])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.csv", "run.extxyz"]


@pytest.mark.parametrize(("thermostat", "resting"), [("langevin", 0), ("bussi", 3)])
def test_the_pressure_of_npt_is_logged(tmp_path, thermostat, resting):
    """Of potential and kinetic energy; a centre of mass that rests counts as if it moved at the temperature."""
    files = {"output": tmp_path / "run.extxyz", "log": tmp_path / "run.csv"}
    settings = {"thermostat": thermostat, "pressure": 2.0, "barostat_time": 50.0, "barostat_interval": 3}
    run = run_md(
        copper(1), EMT(), ensemble="npt", timestep=2.0, steps=20, temperature=300.0, interval=5, **files, **settings
    )
    rows = list(csv.DictReader(files["log"].read_text().splitlines()))
    for frame in read(files["output"], ":"):
        twice = 2 * frame.get_kinetic_energy() + resting * units.kB * 300.0
        volume = frame.get_volume()
        expected = (twice / volume - np.trace(frame.get_stress(voigt=False))) / 3 / units.GPa
        assert float(rows[frame.info["step"]]["pressure_gpa"]) == pytest.approx(expected, rel=1e-5)
    assert run.pressures.tolist() == [float(row["pressure_gpa"]) for row in rows]
    assert np.ptp(run.pressures) > 0.1
    assert run_md(copper(1), EMT(), ensemble="nve", timestep=2.0, steps=2, temperature=300.0).pressures is None


def test_traj_is_written_too(tmp_path):
    run_md(
        copper(1), EMT(), ensemble="nve", timestep=1.0, steps=4, temperature=300, output=tmp_path / "a.traj", interval=2
    )
    assert len(read(tmp_path / "a.traj", index=":")) == 3


def test_nve_goes_on_from_the_velocities_of_the_start():
    whole = run_md(copper(1), EMT(), ensemble="nve", timestep=2.0, steps=20, temperature=300)
    first = run_md(copper(1), EMT(), ensemble="nve", timestep=2.0, steps=10, temperature=300)
    second = run_md(first.atoms, EMT(), ensemble="nve", timestep=2.0, steps=10)
    np.testing.assert_allclose(second.atoms.positions, whole.atoms.positions, atol=1e-10)
    with pytest.raises(InputError, match="no velocities"):
        run_md(copper(1), EMT(), ensemble="nve", timestep=2.0, steps=10)


def test_nvt_reaches_its_temperature_and_is_seeded():
    def run(steps, seed):
        settings = {"ensemble": "nvt", "timestep": 4.0, "temperature": 600.0, "friction": 0.05}
        return run_md(copper(), EMT(), steps=steps, seed=seed, **settings).temperatures

    long = run(300, 0)
    assert long[100:].mean() == pytest.approx(600.0, rel=0.1)
    np.testing.assert_array_equal(run(10, 0), long[:11])
    assert not np.allclose(run(10, 1), long[:11])


class Bomb(ASECalculator):
    """Harmless for some calls, then not."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, calls, what):
        super().__init__()
        self.calls, self.what = calls, what

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls -= 1
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}
        if self.calls < 0:
            if self.what == "raise":
                raise InputError("atoms 0 and 1 are at one place")
            self.results["forces"] = np.full((len(atoms), 3), self.what)


@pytest.mark.parametrize(
    ("what", "step", "words"),
    [("raise", 7, "at one place"), (np.nan, 7, "not finite"), (1e6, 7, "temperature")],
)
@pytest.mark.parametrize("interval", [1, 4, 100])
def test_explosion_names_the_step_and_keeps_the_last_good_frame(tmp_path, what, step, words, interval):
    output = tmp_path / "run.extxyz"
    with pytest.raises(ExplosionError, match=rf"step {step} \(.*{words}") as caught:
        run_md(
            copper(1),
            Bomb(7, what),
            ensemble="nve",
            timestep=1.0,
            steps=50,
            temperature=300,
            output=output,
            log=tmp_path / "run.csv",
            interval=interval,
        )
    assert "\n" not in str(caught.value)
    frames = read(output, index=":")
    assert frames[-1].info["step"] == step - 1
    assert len({frame.info["step"] for frame in frames}) == len(frames)
    assert np.isfinite(frames[-1].positions).all()
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 1 + step
    assert not list(tmp_path.glob("*.partial"))


def test_an_interrupted_run_keeps_its_frames(tmp_path):
    def interrupt(step):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_md(
            copper(1),
            EMT(),
            ensemble="nve",
            timestep=1.0,
            steps=50,
            temperature=300,
            output=tmp_path / "run.traj",
            interval=2,
            on_step=interrupt,
        )
    assert len(read(tmp_path / "run.traj", index=":")) == 4


def test_a_bad_first_structure_leaves_no_file(potential, tmp_path):
    output = tmp_path / "run.extxyz"
    output.write_text("precious")
    with pytest.raises(InputError, match="does not know Cu"):
        run_md(copper(), Calculator(potential), ensemble="nve", timestep=1.0, steps=5, temperature=300, output=output)
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ensemble": "npz"}, "ensemble"),
        ({"timestep": 0.0}, "time step"),
        ({"timestep": float("nan")}, "time step"),
        ({"steps": 0}, "steps"),
        ({"interval": 0}, "interval"),
        ({"temperature": -1.0}, "temperature"),
        ({"ensemble": "nvt", "temperature": None}, "temperature"),
        ({"friction": -0.1}, "friction"),
        ({"steps": 2.5}, "a number of steps of 2.5 makes no sense"),
        ({"timestep": "a"}, "a time step of 'a' makes no sense"),
        ({"frict": 0.1}, "frict: no constants of an ensemble; there are .*friction"),
        ({"output": "nowhere/run.extxyz"}, "no folder"),
        ({"output": "run.pdb"}, "must end in"),
    ],
)
def test_bad_arguments(change, words, tmp_path):
    from pathlib import Path

    settings = {"ensemble": "nve", "timestep": 1.0, "steps": 2, "temperature": 300.0} | change
    if "output" in change:
        settings["output"] = tmp_path / Path(change["output"])
    with pytest.raises(InputError, match=words):
        run_md(copper(1), EMT(), **settings)


def test_our_potential_conserves_energy(potential):
    run = run_md(
        structures.bulk([14], 1), Calculator(potential), ensemble="nve", timestep=0.5, steps=200, temperature=300
    )
    found = run.energy_drift()
    assert abs(found.slope) < 0.05 + 3 * found.error
    assert found.error < 0.1
