"""A small model, and frames whose labels are its own answers with known errors added."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.data import Record
from equinet.graph import AtomicGraph, build_graph
from equinet.models import NequIPArchitecture, Potential, save_model
from equinet.simulate import Calculator


def small_potential(seed: int = 3, **architecture: object) -> Potential:
    """Carbon and silicon, drawn weights, six of them in the last layer."""
    torch.manual_seed(seed)
    settings: dict = {"cutoff": 3.2, "layers": 2, "l_max": 1, "channels": 6, "mean_neighbors": 6.0}
    potential = Potential(
        NequIPArchitecture(**(settings | architecture)),
        species=[6, 14],
        isolated_energies=[-10.0, -20.0],
        scale=2.0,
        shift=[-1.0, -2.0],
        dtype=torch.float64,
    )
    return potential.eval().requires_grad_(False)


def structure(seed: int, displacement: float = 0.15):
    """Eight atoms of strained and rattled silicon carbide; no two of a seed are alike."""
    rng = np.random.default_rng(seed)
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += displacement * rng.normal(size=(len(atoms), 3))
    return atoms


def labelled(atoms, potential: Potential, rng: np.random.Generator, noise: float = 0.05, weights=None):
    """Labels of the model, of other last weights if given, with Gaussian noise."""
    calculator = Calculator(potential)
    energy, forces = calculator.get_property("energy", atoms), calculator.get_property("forces", atoms)
    if weights is not None:
        direction = torch.as_tensor(weights)[None]
        _, derivatives = potential.with_readout_derivatives(graph_of(atoms, potential), direction)
        energy += float((derivatives.features @ direction[0]).sum())
        forces = forces + derivatives.forces[0].numpy()
    energy += noise * rng.normal() * len(atoms) ** 0.5
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces + noise * rng.normal(size=forces.shape))
    return atoms


def graph_of(atoms, potential: Potential) -> AtomicGraph:
    return build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, potential.cutoff)


def record_of(atoms) -> Record:
    return Record(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
    )


def frames(potential: Potential, seeds: range, noise: float = 0.05, displacement: float = 0.15, weights=None):
    rng = np.random.default_rng(seeds.start)
    return [labelled(structure(seed, displacement), potential, rng, noise, weights) for seed in seeds]


@pytest.fixture(scope="session")
def potential() -> Potential:
    return small_potential()


@pytest.fixture(scope="session")
def sets(potential: Potential) -> dict[str, list[Record]]:
    """Disjoint sets of frames with noise on the labels."""
    parts = {"training": range(30), "calibration": range(100, 130), "judged": range(200, 230)}
    return {name: [record_of(atoms) for atoms in frames(potential, seeds)] for name, seeds in parts.items()}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, potential: Potential) -> Path:
    """A folder with two models and files of frames."""
    folder = tmp_path_factory.mktemp("uncertainty")
    save_model(potential, folder / "model.safetensors")
    save_model(small_potential(seed=4), folder / "other.safetensors")
    for name, seeds in {"train": range(20), "calibrate": range(100, 112), "test": range(200, 208)}.items():
        ase.io.write(folder / f"{name}.extxyz", frames(potential, seeds))
    return folder


@pytest.fixture(scope="module")
def made(files):
    """Both kinds of uncertainty, made by the command line."""
    from equinet.cli.main import main

    common = ["--train", f"{files}/train.extxyz", "--calibrate", f"{files}/calibrate.extxyz"]
    for name, models in {"one": ["model"], "committee": ["model", "other"]}.items():
        paths = [f"{files}/{model}.safetensors" for model in models]
        assert main(["uncertainty", *paths, *common, "-o", f"{files}/{name}.safetensors"]) == 0
    return files
