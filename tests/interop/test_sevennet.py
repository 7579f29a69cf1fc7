"""SevenNet's checkpoints become potentials that give SevenNet's numbers, or one clear line."""

import os
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from equinet.cli.main import main
from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.interop.checkpoint_source import read_checkpoint
from equinet.interop.sevennet import SHIPPED, import_sevennet
from equinet.models import load_model, save_model
from equinet.simulate.prediction import predict
from tests.interop.sevennet_oracle import CUTOFF, SPECIES, SevenNetOracle

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "sevennet"


@pytest.fixture
def frames():
    """Random structures: a crowded box, a molecule without a cell, an atom alone."""
    random = np.random.default_rng(0)
    made = []
    for atoms, edge in ((12, 5.0), (7, 0.0), (1, 0.0)):
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:atoms] * 1.7
        positions = grid + 0.2 * random.standard_normal((atoms, 3))
        made.append(
            ase.Atoms(random.choice(SPECIES, atoms), positions, cell=[edge] * 3 if edge else None, pbc=bool(edge))
        )
    return made


@pytest.mark.parametrize(
    ("connection", "modals", "version"),
    [("linear", 0, "0.9.1"), ("nequip", 0, "0.10.3"), ("linear", 2, "0.9.4"), ("nequip", 3, "0.12.0")],
)
def test_energies_and_forces_of_the_oracle(connection, modals, version, frames, tmp_path):
    torch.manual_seed(7)
    oracle = SevenNetOracle(connection, modals, sorted_paths=version == "0.12.0")
    path = tmp_path / "checkpoint.pth"
    torch.save(oracle.checkpoint(version, connection), path)
    oracle = oracle.double()
    whole = import_sevennet(str(path)).with_dtype(torch.float64)
    assert whole.modals == [f"modal{index}" for index in range(modals)]
    for modal in range(max(1, modals)):
        potential = import_sevennet(str(path), f"modal{modal}" if modals else None).with_dtype(torch.float64)
        for atoms in frames:
            graph = graph_from_atoms(atoms, CUTOFF)
            positions = graph.positions.clone().requires_grad_()
            vectors = positions[graph.senders] - positions[graph.receivers] + graph.images.double() @ graph.cell[0]
            species = torch.tensor([SPECIES.index(z) for z in atoms.numbers])
            energies = oracle(vectors, species, graph.senders, graph.receivers, modal)
            prediction = potential(graph)
            assert torch.allclose(prediction.atom_energies, energies, rtol=0, atol=2e-6)  # weights are rounded once
            of_all = whole(graph, torch.tensor([modal]) if modals else None)
            assert torch.allclose(of_all.atom_energies, energies, rtol=0, atol=2e-6)
            if len(atoms) > 1:
                (gradient,) = torch.autograd.grad(energies.sum(), positions)
                assert gradient.abs().max() > 0.05
                assert torch.allclose(prediction.forces, -gradient, rtol=0, atol=5e-6)


def test_signs_of_coupling_constants_follow_the_checkpoint(frames, tmp_path):
    """Older versions of e3nn had other signs; a checkpoint keeps the constants that it was trained with."""
    torch.manual_seed(8)
    content = SevenNetOracle("linear", 0, False).checkpoint("0.9.1", "linear")
    paths = tmp_path / "as_is.pth", tmp_path / "flipped.pth"
    torch.save(content, paths[0])
    tensors = content["model_state_dict"]
    kept = "1_convolution.convolution._compiled_main_left_right._w3j_1_1_2"
    if kept not in tensors:  # as e3nn keeps it depends on how it makes its code
        from e3nn.o3 import wigner_3j

        tensors[kept] = wigner_3j(1, 1, 2).float()
    tensors[kept] = -tensors[kept]
    torch.save(content, paths[1])
    before, after = (import_sevennet(str(path)) for path in paths)
    conv = [(a.model.layers[1].radial.weights[-1]) for a in (before, after)]
    changed = (conv[0] != conv[1]).any(dim=0)
    assert torch.equal(conv[0][:, changed], -conv[1][:, changed])
    assert int(changed.sum()) == 4  # the channels of the one path
    assert abs(predict(before, frames[:1], 1)[0].energy - predict(after, frames[:1], 1)[0].energy) > 1e-6


def test_numbers_of_a_molecule(sevenn_wheel, monkeypatch):
    """Water, computed by sevenn 0.13.0."""
    monkeypatch.chdir(sevenn_wheel.parent)
    water = ase.Atoms(
        "OHH",
        [
            [-0.02083789, -0.00281334, 0.01245220],
            [0.08201354, 0.67356722, -0.51913437],
            [0.02514407, -0.82550340, -0.52994461],
        ],
    )
    (result,) = predict(import_sevennet("7net-0"), [water], 1)
    forces = [
        [-0.90786320, -6.78444481, 4.47178078],
        [0.92839301, 5.85330868, -4.86666536],
        [-0.02052978, 0.93113631, 0.39488456],
    ]
    assert result.energy == pytest.approx(-13.733208656, abs=1e-5)
    assert np.abs(result.forces - forces).max() < 1e-4


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/reference/sevennet: numbers of sevenn 0.13.0")
@pytest.mark.parametrize("name", list(SHIPPED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_of_sevenn(sevenn_wheel, monkeypatch, name, dtype):
    monkeypatch.chdir(sevenn_wheel.parent)
    potential = import_sevennet(name, "PBE" if "mf" in name else None).with_dtype(dtype)
    references = ase.io.read(SHARED / f"{name}.extxyz", ":")
    assert len(references) == 12
    for atoms, result in zip(references, predict(potential, references, 1), strict=True):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert abs(result.energy - energy) / len(atoms) < 1e-5 + 1e-6 * abs(energy) / len(atoms)
        # the reference is float32: 1e-5 of its largest force is its own error where atoms nearly touch (400 eV/A)
        assert np.abs(result.forces - forces).max() < max(2e-4, 1e-5 * np.abs(forces).max()), atoms.info["name"]
        if "stress" in atoms.calc.results:
            assert np.abs(result.stress - atoms.get_stress(voigt=False)).max() < 2e-5


@pytest.fixture
def content():
    """A good checkpoint, to be spoilt."""
    torch.manual_seed(9)
    return SevenNetOracle("linear", 2, False).checkpoint("0.9.4", "linear")


def refuse(content, tmp_path, words, modal="modal1"):
    path = tmp_path / "bad.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=words) as error:
        import_sevennet(str(path), modal)
    assert str(path) in str(error.value)


def test_a_modal_must_be_known(content, tmp_path):
    refuse(content, tmp_path, "knows no 'pbe'; there are modal0, modal1", "pbe")
    plain = SevenNetOracle("linear", 0, False).checkpoint("0.9.4", "linear")
    refuse(plain, tmp_path, "knows one level of theory, so there is no 'modal1'", "modal1")
    content["config"]["_modal_map"] = {"modal0": 0, "modal1": 2}
    refuse(content, tmp_path, "its modals are numbered", None)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("is_parity", True, "its is_parity is True; only False"),
        ("_model_type", "new_model", "its _model_type is 'new_model'"),
        ("_normalize_sph", False, "its _normalize_sph is False"),
        ("radial_basis", {"radial_basis_name": "gauss"}, "its radial basis is 'gauss'"),
        ("cutoff_function", {"cutoff_function_name": "cosine"}, "its cutoff function is 'cosine'"),
        ("self_connection_type", ["linear", "linear", "none"], "only one kind for all layers"),
        ("irreps_manual", ["8x0e", "8x0e+4x1e+2x2e", "4x0e+4x1e+2x2e", "8x0e"], "only the same in all layers"),
        ("act_gate", {"e": "tanh"}, "only silu for even scalars"),
        ("version", "unknown", "its version is 'unknown'"),
        ("lmax", 1, "its features are"),
    ],
)
def test_another_architecture(content, tmp_path, key, value, words):
    content["config"][key] = value
    refuse(content, tmp_path, words)


def test_tensors_that_do_not_fit(content, tmp_path):
    tensors = content["model_state_dict"]
    tensors["0_extra.weight"] = torch.zeros(3)
    refuse(content, tmp_path, "tensors of another architecture: 0_extra.weight")
    del tensors["0_extra.weight"]
    tensors["1_self_interaction_1.linear.weight"] = torch.zeros(3)
    refuse(content, tmp_path, r"its 1_self_interaction_1.linear.weight is \[3\], where its config asks for \[100\]")
    del tensors["1_self_interaction_1.linear.weight"]
    refuse(content, tmp_path, "it has no tensor 1_self_interaction_1.linear.weight")
    refuse({"config": {}}, tmp_path, "it is no SevenNet checkpoint")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_nothing_in_a_checkpoint_runs(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse({**content, "epoch": Trap()}, tmp_path, "holds more than tensors and plain values")
    assert not (tmp_path / "trapped").exists()


def test_a_damaged_checkpoint(content, tmp_path):
    path = tmp_path / "half.pth"
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        import_sevennet(str(path), "modal0")
    torch.save([1], path)
    with pytest.raises(InputError, match="is no checkpoint: it holds a list"):
        read_checkpoint(path.read_bytes(), "list.pth")


def test_where_the_wheel_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["import", "sevennet", "7net-0", "-o", "model.safetensors"]) == 1
    assert "get it with: pip download --no-deps sevenn==0.13.0" in capsys.readouterr().err
    (tmp_path / "sevenn-0.13.0-py3-none-any.whl").write_bytes(b"PK not a wheel")
    assert main(["import", "sevennet", "7net-0", "-o", "model.safetensors"]) == 1
    assert "sevenn-0.13.0-py3-none-any.whl is damaged" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "sevenn-0.13.0-py3-none-any.whl", "w") as empty:
        empty.writestr("sevenn/__init__.py", "")
    assert main(["import", "sevennet", "7net-0", "-o", "model.safetensors"]) == 1
    assert "no wheel of it here that has" in capsys.readouterr().err
    assert main(["import", "sevennet", "nonsense", "-o", "model.safetensors"]) == 1
    assert "nonsense: no such file, and not one of 7net-0, 7net-l3i5, 7net-mf-0" in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()


def test_the_verb_writes_an_ordinary_model(content, frames, tmp_path, capsys):
    torch.save(content, tmp_path / "checkpoint.pth")
    model = tmp_path / "model.safetensors"
    arguments = ["import", "sevennet", str(tmp_path / "checkpoint.pth"), "--modal", "modal1", "-o", str(model)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "3 elements, cutoff 4 A" in shown
    assert "licence: MIT" in shown
    assert "please cite: Park et al." in shown
    loaded = load_model(model)
    assert loaded.provenance["modal"] == "modal1"
    assert loaded.species == sorted(SPECIES)
    energies = [result.energy for result in predict(loaded, frames, 1)]
    save_model(loaded, tmp_path / "again.safetensors")
    assert energies == [result.energy for result in predict(load_model(tmp_path / "again.safetensors"), frames, 1)]
    assert main(["info", str(model)]) == 0
    assert "citation: Park et al." in capsys.readouterr().out
