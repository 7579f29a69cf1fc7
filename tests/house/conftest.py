"""A working directory as the README's reader has it after the quickstart, with a small untrained model."""

from pathlib import Path

import pytest
import torch
from ase.io import read, write

from equinet.cli.main import main
from equinet.data import samples
from equinet.models import NequIPArchitecture, Potential, save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def quickstart_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Changes into a folder with a model in runs/quickstart and in runs/mine, configs/ and a few data files; and with a
    store and its splits for commands that come after those that make them."""
    torch.manual_seed(0)
    architecture = NequIPArchitecture(cutoff=4.0, layers=1, l_max=1, channels=4, mean_neighbors=8.0)
    potential = Potential(
        architecture, species=[1, 6, 8], isolated_energies=[-10.0, -40.0, -100.0], scale=1.0, shift=[0.0] * 3
    )
    for run in (tmp_path / "runs" / "quickstart", tmp_path / "runs" / "mine"):
        run.mkdir(parents=True)
        save_model(potential, run / "model.safetensors")
    for name in ("7net-0", "7net-0-fast"):  # stand-ins
        save_model(potential, tmp_path / f"{name}.safetensors")

    (tmp_path / "configs").symlink_to(ROOT / "configs")
    frames = read(samples.path("glycol", "train"), ":15")
    molecules = [atoms for atoms in frames if len(atoms) > 1]
    write(tmp_path / "frames.extxyz", frames)
    write(tmp_path / "test.extxyz", molecules[:3])
    write(tmp_path / "start.extxyz", molecules[0])
    monkeypatch.chdir(tmp_path)
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    command = str(parameters.get("command", ""))
    if "STORE" in command and "data build" not in command:
        assert main(["data", "build", "frames.extxyz", "test.extxyz", "-o", "STORE"]) == 0
        if "STORE:" in command:
            assert main(["data", "split", "STORE", "--fractions", "0.7", "0.3"]) == 0
    return tmp_path
