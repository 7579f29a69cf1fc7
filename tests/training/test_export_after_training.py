"""What is trained can be exported at once: as the run ends, and by Lightning's own method."""

from pathlib import Path

import pytest
import torch

from equinet.cli.main import main
from equinet.deploy import load_artefact
from equinet.errors import InputError
from equinet.models import load_model
from equinet.training.configuration import TrainCLI
from equinet.training.quiet import quiet_third_parties


def test_exported_when_the_run_ends(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--export", "[torchscript,lammps]", "--trainer.max_epochs", "1"]
    assert main(["train", "--config", str(tiny_config), *options]) == 0
    run = tmp_path / "runs" / "tiny"
    potential, said = load_model(run / "model.safetensors"), capsys.readouterr().out
    for kind in ("torchscript", "lammps"):
        assert f"exported and checked: {run / f'model-{kind}.pt'}" in said
        artefact = load_artefact(run / f"model-{kind}.pt")
        assert artefact.header.provenance["training"]["epoch"] == 0
        graph = artefact.references[0].graph(potential.cutoff)
        torch.testing.assert_close(artefact(graph)["forces"], potential(graph).forces, rtol=0, atol=1e-10)


def test_what_cannot_be_exported_is_said_before_training(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modals = ["--model.architecture.modals", "[PBE,SCAN]"]
    assert main(["train", "--config", str(tiny_config), "--export", "[lammps]", *modals]) == 1
    assert "export: LAMMPS runs one level of theory" in capsys.readouterr().err
    assert main(["train", "--config", str(tiny_config), "--export", "[onnx]"]) == 1
    assert "onnx" in capsys.readouterr().err


def test_to_torchscript(tiny_config: Path, tmp_path: Path) -> None:
    with quiet_third_parties():
        module = TrainCLI(["--config", str(tiny_config)]).model
    script = module.to_torchscript(tmp_path / "model.pt")
    artefact = load_artefact(tmp_path / "model.pt")
    graph = artefact.references[0].graph(module.best_potential.cutoff)
    expected = module.best_potential.eval()(graph)
    for found in (script(*graph), artefact(graph)):
        torch.testing.assert_close(found["forces"], expected.forces.detach(), rtol=0, atol=1e-10)
    assert module.potential.training  # as it was
    with pytest.raises(InputError, match="a trace keeps numbers of atoms"):
        module.to_torchscript(method="trace")
