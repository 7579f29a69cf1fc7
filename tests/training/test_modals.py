"""Training on two levels of theory at once."""

import re

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.cli.main import main
from equinet.data import graph_from_atoms
from equinet.models import load_model
from equinet.training.run_directory import read_metrics
from tests.training.conftest import copper_frames

OFFSET = 1.5  # eV an atom
FACTOR = 2.0  # of forces, and of energies above the mean


@pytest.fixture(scope="module")
def two_levels(tmp_path_factory):
    """Copper by EMT, and by a stiffer EMT whose atoms are lower."""
    frames = copper_frames(24)
    mean = np.mean([atoms.get_potential_energy() for atoms in frames])
    for number, atoms in enumerate(frames):
        atoms.info["theory"] = "soft"
        if number % 2:
            energy = mean + FACTOR * (atoms.get_potential_energy() - mean) - OFFSET * len(atoms)
            values = {"energy": energy, "forces": FACTOR * atoms.get_forces(), "stress": FACTOR * atoms.get_stress()}
            atoms.calc = SinglePointCalculator(atoms, **values)
            atoms.info["theory"] = "stiff"
    path = tmp_path_factory.mktemp("levels") / "copper.extxyz"
    ase.io.write(path, frames)
    return path


def train(config, data, *options):
    levels = ["--model.architecture.modals", "[soft,stiff]", "--data.modal_key", "theory"]
    return main(["train", "--config", str(config), "--data.train_path", str(data), *levels, *map(str, options)])


def test_both_levels_are_learnt(tiny_config, two_levels, tmp_path, capsys):
    run = tmp_path / "runs" / "tiny"
    options = ["--trainer.max_epochs", 60, "--model.optimizer.lr", 0.02, "--model.architecture.channels", 4]
    options += ["--model.architecture.num_bessel", 4, "--model.architecture.radial_hidden", "[8]"]
    assert train(tiny_config, two_levels, *options) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^soft, \d+ frames: E0 from", shown, flags=re.MULTILINE)
    rows = read_metrics(run / "metrics.csv")
    assert rows[-1]["val/loss"] < 0.3 * rows[0]["val/loss"]
    potential = load_model(run / "model.safetensors")
    assert potential.modals == ["soft", "stiff"]
    assert any(weight.abs().max() > 0 for name, weight in potential.named_parameters() if "modal_bias" in name)
    # the levels differ in forces as their labels do
    slopes = []
    for atoms in copper_frames(6, seed=9):
        graph = graph_from_atoms(atoms, potential.cutoff)
        soft, stiff = (potential(graph, torch.tensor([level])) for level in (0, 1))
        assert (soft.energy - stiff.energy).item() / len(atoms) == pytest.approx(OFFSET, abs=0.15)
        slopes.append(float((soft.forces * stiff.forces).sum() / soft.forces.square().sum()))
    assert 1.4 < np.mean(slopes) < 2.2

    model = str(run / "model.safetensors")
    assert main(["test", model, str(two_levels)]) == 1
    assert "knows the levels of theory soft, stiff; say which with --modal" in capsys.readouterr().err
    assert main(["test", model, str(two_levels), "--modal", "stiff", "--modal-key", "theory"]) == 0
    assert "12 frames of other levels than stiff are left out" in capsys.readouterr().err
    # a resumed run goes on with the same data
    assert train(tiny_config, two_levels, *options[2:], "--trainer.max_epochs", 61, "--ckpt_path", "last") == 0


def test_a_frame_without_a_level_stops_before_training(tiny_config, copper_file, tmp_path, capsys):
    assert train(tiny_config, copper_file) == 1
    assert "frame 0: its info has no 'theory'; it must be one of soft, stiff" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "tiny").exists()
