"""The race: its clock, its errors, and our side's own configuration trained and judged for a moment."""

import json
import math
import shutil

import ase.build
import ase.io
import lightning
import pytest
import torch
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.accuracy import rows
from benchmarks.training import race, race_clock, race_ours, race_peer
from benchmarks.training import race_case as case
from benchmarks.training.race_report import seconds_to
from equinet.data import compute_statistics, read_records, samples
from equinet.training.quiet import quiet_third_parties


class Line(lightning.LightningModule):
    """Fits a number, slowly enough for a clock."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.rates = []

    def training_step(self, batch, batch_idx):
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return self.weight**2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(range(10_000))


class Clock(race_clock.RaceClock):
    """Saves nothing but the step."""

    suffix = ".step"

    def save(self, trainer, module, path):
        path.write_text(str(trainer.global_step))


def test_the_clock_sets_the_rate_takes_snapshots_and_stops(tmp_path, monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(race_clock, "monotonic", lambda: next(ticks) / 100)
    module, clock = Line(), Clock(str(tmp_path), seconds=4.0, snapshots=4, lr=0.5)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with quiet_third_parties():
        lightning.Trainer(callbacks=[clock], max_epochs=1, enable_model_summary=False, **options).fit(module)
    taken = sorted(tmp_path.glob("*.step"))
    assert [round(float(path.stem)) for path in taken] == [1, 2, 3, 4]
    assert module.rates[0] == pytest.approx(0.5, rel=1e-3)
    assert module.rates[len(module.rates) // 2] == pytest.approx(0.25, rel=0.1)
    assert module.rates[-1] < 0.01
    assert module.rates == sorted(module.rates, reverse=True)
    values = json.loads((tmp_path / "clock.json").read_text())
    assert values["steps"] == len(module.rates) == int(taken[-1].read_text())
    assert values["weights"] == 1


def test_errors_are_those_of_the_calculator():
    class Shifted(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, atoms=None, properties=None, system_changes=None):
            copy = atoms.copy()
            copy.calc = EMT()
            self.results = {
                "energy": copy.get_potential_energy() + 0.008 * len(copy),
                "forces": copy.get_forces() - 0.05,
                "stress": copy.get_stress() + [0.01, 0.01, 0.01, 0, 0, 0],
            }

    frames = []
    for seed in range(3):
        atoms = ase.build.bulk("Cu", cubic=True) * (1, 1, seed + 1)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    found = case.errors(frames, Shifted())
    assert found["energy_mae_mev_per_atom"] == pytest.approx(8.0)
    assert found["force_mae_mev_per_angstrom"] == pytest.approx(50.0)
    assert found["stress_mae_gpa"] == pytest.approx(0.01 / 3 * 160.21766, rel=1e-5)  # three of nine components
    spread = case.label_spread(frames)
    assert case.score(spread, spread) == pytest.approx(1.0)


@pytest.mark.parametrize("stress", [600.0, 0.0])
def test_settings_are_the_same_for_both_sides(stress):
    settings = case.settings("a configuration", 0.02, 4, 8.0, 1.0, stress)
    raced = case.Case("x", 4.5, 3, 2, 16, 0.99, {"C": -1.0, "H": -2.0}, "mae", "mev", stress > 0, settings)
    for setting in settings:
        assert math.isclose(sum(setting.weights.values()), 1.0)
        files = {"train": "a", "val": "b"}
        ours = race_ours.configuration(raced, setting, {}, files, 0)
        peer = race_peer.configuration(raced, setting, {}, files, 0, "eager")
        loss = peer["training_module"]["loss"]["coeffs"]
        named = {"energy": "total_energy", "forces": "forces", "stress": "stress"}
        weights = {name: loss.get(named[name], 0.0) for name in named}
        assert weights == {name: ours["model"]["loss"][name] for name in named}
        assert peer["data"]["train_dataloader"]["batch_size"] == ours["data"]["batch_size"] == setting.batch_size
        assert peer["training_module"]["model"]["per_type_energy_shifts"] == {"C": -1.0, "H": -2.0}


def test_a_case_is_the_row_s_configuration_in_units_of_its_own(shared_data, tmp_path):
    files, tests, found = race.lay_out(rows.row("mlearn-Ge"), shared_data, tmp_path, seed=0)
    assert {name: len(ase.io.read(path, ":")) for name, path in (files | tests).items()} == {
        "train": 205,
        "val": 23,
        "test": 22,  # three are twins
    }
    assert (found.cutoff, found.layers, found.l_max, found.channels, found.stress) == (4.5, 3, 2, 16, True)
    statistics = compute_statistics(read_records(files["train"]).records, 4.5)
    setting = found.settings[1]  # configs/mlearn.yaml: weights 4:4:1 in units of the labels' rms
    assert setting.energy * statistics.energy_rms_per_atom**2 == pytest.approx(setting.forces * statistics.force_rms**2)
    assert setting.stress * statistics.stress_rms**2 == pytest.approx(setting.forces * statistics.force_rms**2 / 4)
    assert found.shifts == {"Ge": pytest.approx(statistics.isolated_energies[0])}


def test_when_an_error_falls_for_good():
    curve = [{"seconds": float(t), "e": e} for t, e in enumerate([9.0, 4.0, 6.0, 5.0, 3.0])]
    assert seconds_to(curve, "e", 5.0) == 3.0
    assert seconds_to(curve, "e", 1.0) is None


def test_our_side_trains_by_the_clock_and_is_judged(tmp_path):
    for name in ("train", "test"):
        shutil.copy(samples.path("silicon", name), tmp_path / f"{name}.extxyz")
    row = rows.Row("mine", "silicon", "configs/mlearn.yaml", "train.extxyz", (rows.Comparison("test", "test.extxyz"),))
    files, tests, raced = race.lay_out(row, tmp_path, tmp_path / "data", seed=0)
    counts = {name: len(ase.io.read(path, ":")) for name, path in files.items()}
    whole = len(ase.io.read(tmp_path / "train.extxyz", ":"))
    assert counts["train"] + counts["val"] == whole
    assert counts["val"] == round(row.validation * whole)
    course = race.Course(raced, tmp_path / "runs", files, tests, 0.01, 2, "processor", 1.0, 10.0, 1, 0)
    (course.runs / "equinet").mkdir(parents=True)
    found = race.race(course, "equinet", raced.settings[1], "eager")
    assert found["clock"]["steps"] >= 1
    assert found["test"]["test"]["energy_mae_mev_per_atom"] > 0.0
    log = (course.runs / "equinet" / "race" / "log.txt").stat().st_mtime_ns
    assert race.race(course, "equinet", raced.settings[1], "eager") == found  # not run again
    assert (course.runs / "equinet" / "race" / "log.txt").stat().st_mtime_ns == log
    trials = {"trials": [{"setting": "x", "score": 1.0, "steps": 3}]}
    result = {"race": found, "trials": trials, "mode": {"modes": {"eager": {}}}}
    told = {"title": raced.title, "network": raced.network, "reported": raced.reported, "minutes": 0.01}
    told |= {"counted": "processor", "processor": "a processor", "threads": 1}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlearn-Si.json").write_text(json.dumps(told | {"sides": {"equinet": result, "other": result}}))
    race.render(tmp_path / "out")
    assert "| equinet | as configs/mlearn.yaml | eager |" in (tmp_path / "out" / "mlearn-Si.md").read_text()
    assert "| [mlearn-Si](mlearn-Si.md) | 0.01 1 thread, processor |" in (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "mlearn-Si.png").stat().st_size > 10_000
