"""The compiled form of a potential is the same potential: numbers, derivatives, file; and it says when it is not."""

import dataclasses

import numpy as np
import pytest
import torch

from equinet.cli.main import main
from equinet.errors import InputError
from equinet.graph import build_graph
from equinet.models import (
    CompiledNequIPArchitecture,
    NequIPArchitecture,
    Potential,
    compilation,
    load_model,
    save_model,
)
from equinet.models.compilation import compile_potential, drawn_structures
from equinet.simulate import Calculator
from equinet.simulate.structures import bulk, molecule
from equinet.simulate.verify import FLOAT64, STATIC_CHECKS, run_checks
from equinet_kernels import radial_spline

SETTINGS = {
    "polynomial": {},
    "xplor": {"envelope": "xplor", "xplor_onset": 3.2},
    "no parity, shared connection, biases": {
        "parity": "none",
        "species_self_connection": False,
        "biases": True,
        "mean_neighbors": [9.0, 12.0],
    },
    "no connection, readout, channels": {"self_connection": False, "readout_hidden": [5], "channels": [6, 4, 2]},
}


def make(name: str, dtype: torch.dtype = torch.float64, **options) -> Potential:
    settings = {"cutoff": 4.0, "layers": 2, "l_max": 2, "channels": 6, "mean_neighbors": 12.0, **SETTINGS[name]}
    torch.manual_seed(3)
    potential = Potential(
        NequIPArchitecture(**settings), [1, 8, 14], [-1.0, -2.0, -3.0], 2.0, [0.1, 0.2, 0.3], dtype=dtype, **options
    )
    with torch.no_grad():
        for parameter_name, parameter in potential.named_parameters():
            if parameter_name.endswith("bias"):
                parameter.normal_()
    return potential.eval()


@pytest.fixture
def limits(monkeypatch):
    """Random weights make larger and rougher functions than training does: ask for less, so that 512 intervals do."""
    monkeypatch.setattr(compilation, "INTERVALS", (512,))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.usefixtures("limits")
def test_same_numbers_within_the_stated_limits(name):
    original = make(name)
    made = compile_potential(original)
    assert isinstance(made.potential.architecture, CompiledNequIPArchitecture)
    assert made.structures == 5
    for graph in drawn_structures(original.species, 4.0, seed=11):  # others than those that were looked at
        ours, theirs = made.potential(graph), original(graph)
        assert theirs.forces.abs().max() > 1e-2
        assert (ours.energy - theirs.energy).abs().max() / len(graph.numbers) < compilation.ENERGY_LIMIT
        assert (ours.forces - theirs.forces).abs().max() < compilation.FORCE_LIMIT
        assert (ours.virial - theirs.virial).abs().max() < 10 * compilation.FORCE_LIMIT
        assert (ours.atom_energies - theirs.atom_energies).abs().max() < 1e-5
        difference = made.potential.hessian(graph) - original.hessian(graph)
        assert difference.abs().max() < compilation.HESSIAN_LIMIT


def pair_energy(potential: Potential, distances: torch.Tensor) -> torch.Tensor:
    """Energy and force along a pair of atoms, [K, 2]."""
    rows = []
    for distance in distances.tolist():
        prediction = potential(build_graph([[0, 0, 0], [0, 0, distance]], [8, 14], np.zeros((3, 3)), [False] * 3, 4.0))
        rows.append(torch.stack([prediction.energy[0], prediction.forces[1, 2]]))
    return torch.stack(rows)


@pytest.mark.usefixtures("limits")
def test_both_sides_of_an_onset_and_of_the_cutoff():
    original = make("xplor")
    fast = compile_potential(original).potential
    h = fast.architecture.spacing
    steps = torch.tensor([-1.5, -0.5, -0.01, 0.01, 0.5, 1.5], dtype=torch.float64) * h
    for place in (3.2, 4.0):
        distances = place + steps
        assert torch.allclose(pair_energy(fast, distances), pair_energy(original, distances), rtol=0, atol=1e-7)


@pytest.mark.usefixtures("limits")
def test_below_the_first_knot_it_goes_on_as_a_parabola():
    fast = compile_potential(make("polynomial")).potential
    layer = fast.model.layers[0]
    h = fast.architecture.spacing
    rows = layer.table
    assert rows[0, 3:].abs().max() < 1e-12
    assert rows[1, 3:].abs().max() > 1e-9
    value, slope, curvature = (radial_spline(h * torch.ones(1).double(), rows, h, n) for n in range(3))
    middle = radial_spline(h / 2 * torch.ones(1).double(), rows, h)
    assert torch.allclose(middle, value - h / 2 * slope + h**2 / 8 * curvature, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("limits")
def test_an_isolated_atom_keeps_its_energy():
    made = compile_potential(make("polynomial"))
    alone = build_graph([[0.0, 0.0, 0.0]], [14], np.zeros((3, 3)), [False] * 3, 4.0)
    assert float(made.potential(alone).energy[0]) == -3.0


@pytest.mark.usefixtures("limits")
def test_it_is_an_ordinary_model_file(tmp_path, capsys):
    save_model(make("xplor", torch.float32), tmp_path / "model.safetensors")
    arguments = [str(tmp_path / "model.safetensors"), "-o", str(tmp_path / "fast.safetensors")]
    assert main(["compile", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "spline intervals; measured on 5 random structures" in shown
    assert "compiled from original, float64" in shown
    fast = load_model(tmp_path / "fast.safetensors")
    assert fast.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    original = load_model(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors", fast=True)
    assert all(torch.equal(value, fast.state_dict()[name]) for name, value in again.state_dict().items())
    assert load_model(tmp_path / "fast.safetensors", fast=True).architecture == fast.architecture
    for graph in drawn_structures([1, 8, 14], 4.0, seed=2):
        assert torch.allclose(fast(graph).forces, original(graph).forces, rtol=0, atol=1e-4)
    assert main(["info", str(tmp_path / "fast.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "compiled-nequip" in shown
    assert "tabulated uvu conv: cpu" in shown
    assert main(["compile", *arguments, "--dtype", "float64"]) == 0
    assert load_model(tmp_path / "fast.safetensors").dtype == torch.float64


@pytest.mark.parametrize("name", ["polynomial", "xplor"])
@pytest.mark.usefixtures("limits")
def test_compiled_in_float64_it_obeys_physics_as_the_original_does(name):
    calculator = Calculator(compile_potential(make(name)).potential)
    checks = run_checks(calculator, {"molecule": molecule([1, 8, 14]), "bulk": bulk([8, 14])}, FLOAT64, STATIC_CHECKS)
    assert [check.name for check in checks if check.passed is False] == []
    assert max(check.value for check in checks if check.name == "forces = -dE/dx") < 1e-8


def test_what_cannot_be_compiled(monkeypatch, tmp_path, capsys):
    potential = make("polynomial")
    monkeypatch.setattr(compilation, "INTERVALS", (8,))
    save_model(potential, tmp_path / "model.safetensors")
    arguments = [str(tmp_path / "model.safetensors"), "-o", str(tmp_path / "fast.safetensors")]
    assert main(["compile", *arguments]) == 1
    assert "with 8 intervals the compiled potential still differs by" in capsys.readouterr().err
    assert not (tmp_path / "fast.safetensors").exists()
    monkeypatch.setattr(compilation, "INTERVALS", (512,))
    with pytest.raises(InputError, match="the potential is compiled already"):
        compile_potential(compile_potential(potential).potential)
    onset = dataclasses.replace(make("xplor").architecture, xplor_onset=3.14159265)
    with pytest.raises(InputError, match="no simple fraction of the cutoff"):
        compile_potential(Potential(onset, [1, 8, 14], [0.0] * 3, 1.0))


@pytest.mark.parametrize(("key", "value"), [("intervals", 1), ("intervals", 1 << 20), ("kink", 600), ("kink", -1)])
def test_hyper_parameters_out_of_range(key, value):
    nequip = dataclasses.asdict(make("polynomial").architecture)
    with pytest.raises(InputError, match=f"architecture.{key} is"):
        CompiledNequIPArchitecture(**{"nequip": nequip, "intervals": 512, key: value})
