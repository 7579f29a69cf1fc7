"""Gathers what the quickstart left in its run directory: figures, report.json and a short table.

python scripts/quickstart_report.py RUN_DIR TEST_DATA
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equinet.data import read_records
from equinet.models import load_model
from equinet.simulate.dynamics import Drift, drift
from equinet.training.evaluation import Evaluation, compare, predict_records
from equinet.training.provenance import versions
from equinet.training.report import learning_curve, nve_energy, parity, write_report
from equinet.training.run_directory import RunDirectory, read_metrics

FORCE_AIM = 0.10
"""Force MAE over force rms below which the quickstart's potential is worth running."""
DRIFT_AIM = 0.05
"""Drift of the total energy, meV/atom/ps."""


def read_dynamics(log: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of the CSV file that ``equinet md`` leaves beside its trajectory, by name."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def table(test: Evaluation, slope: Drift, training: dict[str, float], run: RunDirectory) -> str:
    """The last thing the quickstart prints."""
    energy, force, rms = (
        test.errors[key]
        for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_angstrom", "force_rms_mev_per_angstrom")
    )
    reached = {True: "reached", False: "MISSED"}
    rows = [
        ("training", f"{training['seconds']:.0f} s", f"{training['epochs']:.0f} epochs"),
        ("test, energy MAE", f"{energy:.2f} meV/atom", f"{test.frames} frames, 1000 K and a torsion scan among them"),
        ("test, force MAE", f"{force:.1f} meV/Å", f"the labels' rms is {rms:.0f} meV/Å"),
        ("  relative", f"{force / rms:.1%}", f"aim: under {FORCE_AIM:.0%}, {reached[force < FORCE_AIM * rms]}"),
        (
            "NVE, 1 ps, drift",
            f"{slope.slope:+.4f} meV/atom/ps",
            f"± {slope.error:.4f}; aim: under {DRIFT_AIM}, {reached[abs(slope.slope) < DRIFT_AIM]}",
        ),
    ]
    lines = [f"{name:<20}{value:>20}   {remark}" for name, value, remark in rows]
    return "\n".join([*lines, f"model, report and figures: {run.path}/"])


def main(run: RunDirectory, test_data: Path) -> None:
    """Writes report.json and the figures into the run directory, prints the table."""
    frames = predict_records(load_model(run.model), read_records(test_data))
    test = compare(frames, by="group")
    training = json.loads(run.training.read_text())
    dynamics = read_dynamics(run.path / "nve.csv")
    times, total = dynamics["time_ps"], dynamics["potential_energy_ev"] + dynamics["kinetic_energy_ev"]
    atoms = len(frames[0].record.numbers)
    slope = drift(times, total / atoms)

    learning_curve(read_metrics(run.metrics), run.path / "learning_curve.png")
    parity(frames, test, run.path / "parity.png")
    nve_energy(times, total, atoms, slope.slope, run.path / "nve_energy.png")
    nve = {
        "drift_mev_per_atom_per_ps": slope.slope,
        "drift_error_mev_per_atom_per_ps": slope.error,
        "picoseconds": float(times[-1]),
        "mean_temperature_k": float(dynamics["temperature_k"].mean()),
        "atoms": atoms,
    }
    write_report(run.path / "report.json", test, training, nve, versions())
    print(table(test, slope, training, run))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(RunDirectory(Path(sys.argv[1])), Path(sys.argv[2]))
