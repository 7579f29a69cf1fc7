"""A working directory as the README's reader has it after the quickstart, with a small untrained model."""

from pathlib import Path

import pytest
import torch
from ase.io import read, write

from equinet.data import samples
from equinet.models import NequIPArchitecture, Potential, save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def quickstart_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes into a folder with a model in runs/quickstart and in runs/mine, configs/ and a few data files."""
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
    return tmp_path
