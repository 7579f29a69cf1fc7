"""What the quickstart leaves behind holds what it promises, from a run directory made in a second."""

import json
import subprocess
import sys

import pytest

from equinet.cli.main import main
from tests.house.conftest import ROOT

SECTIONS = {
    "test": ("energy_mae_mev_per_atom", "force_mae_mev_per_angstrom", "force_rms_mev_per_angstrom"),
    "nve": ("drift_mev_per_atom_per_ps",),
    "train": ("seconds",),
    "versions": ("equinet", "torch"),
}


@pytest.fixture
def run(quickstart_folder):
    """A run directory as training and dynamics leave it."""
    run = quickstart_folder / "runs" / "quickstart"
    rows = ["epoch,train/loss,val/loss,val/energy_mae_mev_per_atom,val/force_mae_mev_per_angstrom"]
    rows += [f"{epoch},{2 / (epoch + 1)},{3 / (epoch + 1)},5.0,50.0" for epoch in range(3)]
    (run / "metrics.csv").write_text("\n".join(rows) + "\n")
    (run / "training.json").write_text(json.dumps({"seconds": 12.5, "epochs": 3}))
    dynamics = ["--temperature", "300", "--timestep", "0.5", "--steps", "20", "-o", str(run / "nve.extxyz")]
    assert main(["md", str(run / "model.safetensors"), "start.extxyz", "--ensemble", "nve", *dynamics]) == 0
    return run


def test_report_figures_and_table(run, quickstart_folder):
    script = [sys.executable, str(ROOT / "scripts" / "quickstart_report.py")]
    result = subprocess.run([*script, str(run), "test.extxyz"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr

    report = json.loads((run / "report.json").read_text())
    for section, keys in SECTIONS.items():
        assert set(keys) <= set(report[section]), section
    assert report["train"]["seconds"] == 12.5
    assert report["nve"]["picoseconds"] == pytest.approx(0.01)
    for figure in ("learning_curve", "parity", "nve_energy"):
        assert (run / f"{figure}.png").read_bytes().startswith(b"\x89PNG")

    error = report["test"]["force_mae_mev_per_angstrom"]
    assert f"{error:.1f} meV/Å" in result.stdout
    assert "MISSED" in result.stdout, "an untrained model reaches no aim"
    assert result.stdout.splitlines()[-1].endswith("runs/quickstart/")
