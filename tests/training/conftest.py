"""A small labelled set (EMT copper, with and without stress) and a small model, for everything that trains."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def labelled(atoms: Atoms, labels: tuple[str, ...]) -> Atoms:
    atoms.calc = EMT()
    values = {}
    if "energy" in labels:
        values["energy"] = atoms.get_potential_energy()
    if "forces" in labels:
        values["forces"] = atoms.get_forces()
    if "stress" in labels:
        values["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **values)
    return atoms


def copper_frames(count: int, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        frames.append(labelled(atoms, ("energy", "forces", "stress")))
    return frames


def mixed_frames(seed: int = 0) -> list[Atoms]:
    """Frames that lack one label or another, a molecule and a slab among them."""
    rng = np.random.default_rng(seed)
    frames = copper_frames(3, seed)
    for labels in (("energy",), ("forces",), ("energy", "forces"), ("stress",)):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, rng=rng)
        frames.append(labelled(atoms, labels))
    water = molecule("H2O")
    water.rattle(0.05, rng=rng)
    slab = bulk("Cu", cubic=True).repeat((1, 1, 2))
    slab.pbc = (True, True, False)
    slab.center(vacuum=4.0, axis=2)
    slab.rattle(0.05, rng=rng)
    return frames + [labelled(water, ("energy", "forces")), labelled(slab, ("energy", "forces"))]


@pytest.fixture(scope="session")
def copper_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "copper.extxyz"
    write(path, copper_frames(16))
    return path


@pytest.fixture(scope="session")
def mixed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mixed.extxyz"
    write(path, mixed_frames())
    return path


@pytest.fixture
def tiny_config(tmp_path: Path, copper_file: Path) -> Path:
    """A configuration that trains in about a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""
run_dir: {tmp_path}/runs/tiny
data:
  train_path: {copper_file}
  val_fraction: 0.25
  batch_size: 3
model:
  architecture:
    cutoff: 3.2
    layers: 2
    l_max: 1
    channels: 2
    num_bessel: 3
    radial_hidden: [4]
    parity: natural
  dtype: float64
trainer:
  max_epochs: 4
  accelerator: cpu
"""
    )
    return path
