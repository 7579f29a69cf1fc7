"""Artefacts give their model's answers, here and where equinet is not; and what would not is not written."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from equinet.cli.main import main
from equinet.deploy import check_artefact, export, export_model, load_artefact
from equinet.deploy.check import TOLERANCES
from equinet.deploy.header import header_of
from equinet.deploy.references import QUANTITIES
from equinet.errors import InputError
from equinet.models import Potential, save_model
from equinet_kernels.operator import script
from tests.deploy.conftest import MODELS
from tests.deploy.elsewhere import calls_of, compare, run_alone
from tests.models.conftest import POTENTIALS, nequip

FORMS = [("torchscript", "torch"), ("torchscript", "library"), ("lammps", "library")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("kind", "operators"), FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_same_answers(name: str, kind: str, operators: str, dtype: str, tmp_path: Path) -> None:
    potential = MODELS[name](getattr(torch, dtype))
    found = export_model(potential, kind, tmp_path / "model.pt", operators)
    assert [one.quantity for one in found] == list(QUANTITIES)
    for one in found:
        assert 0.0 <= one.value <= TOLERANCES[dtype]
    artefact = load_artefact(tmp_path / "model.pt")
    header = artefact.header
    assert (header.kind, header.operators, header.dtype) == (kind, operators, dtype)
    assert (header.species, header.cutoff) == (potential.species, potential.cutoff)
    assert header.reach == pytest.approx(potential.architecture.reach)
    batch = artefact.references[-1].graph(header.cutoff)
    nowhere = batch._replace(positions=batch.positions.index_fill(0, torch.tensor(1), float("nan")))
    # an edge of NaN is beyond the cutoff to any comparison: the energy of that structure says so all the same
    for energy in (artefact(nowhere)["energy"], potential(nowhere).energy):
        assert energy.isnan().tolist() == [True] + [False] * (len(batch.cell) - 1)


@pytest.mark.parametrize("operators", ["torch", "library"])
@pytest.mark.parametrize("name", ["plain", "compiled"])
def test_torchscript_without_equinet(name: str, operators: str, tmp_path: Path, ops_library: Path) -> None:
    """Also inputs that are strided and expanded, and edges in any order."""
    for dtype, tolerance in TOLERANCES.items():
        potential = MODELS[name](getattr(torch, dtype))
        export_model(potential, "torchscript", tmp_path / "model.pt", operators)
        artefact = load_artefact(tmp_path / "model.pt")
        calls = calls_of(artefact)
        shuffled = list(calls[0])
        order = torch.randperm(len(shuffled[5]))
        shuffled[5:8] = [tensor[order] for tensor in shuffled[5:8]]
        library = [ops_library] if operators == "library" else []
        found = run_alone(tmp_path / "model.pt", [*calls, shuffled], tmp_path, *library)
        assert len(found) == 19
        compare(found[:-1], [one for one in artefact.references for _ in range(2)], tolerance)
        compare(found[-1:], artefact.references[:1], tolerance)


def test_portable_form_names_no_operator_of_ours(tmp_path: Path) -> None:
    for operators, expected in (("torch", False), ("library", True)):
        export_model(MODELS["plain"](torch.float32), "torchscript", tmp_path / "model.pt", operators)
        with zipfile.ZipFile(tmp_path / "model.pt") as archive:
            code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
        assert (b"ops.equinet" in code) == expected


def test_unknown_element_in_the_bare_artefact(tmp_path: Path) -> None:
    export_model(MODELS["plain"](torch.float32), "torchscript", tmp_path / "model.pt")
    artefact = load_artefact(tmp_path / "model.pt")
    graph = artefact.references[0].graph(artefact.header.cutoff)
    wrong = graph._replace(numbers=torch.full_like(graph.numbers, 79))
    negative = graph._replace(numbers=torch.full_like(graph.numbers, -1))
    for words in run_alone(tmp_path / "model.pt", [list(wrong), list(negative)], tmp_path):
        assert "the potential knows the atomic numbers [6, 8, 14]; other elements are in this structure" in words
    with pytest.raises(InputError, match=r"does not know the atomic numbers \[79\], only \[6, 8, 14\]"):
        artefact(wrong)


def modal_potential() -> Potential:
    """Of two levels of theory."""
    levels = {
        name: [[a, b, c], [a + 1, b - 1, c + 2]]
        for name, (a, b, c) in {
            "isolated_energies": (-10.0, -20.0, -5.0),
            "scale": (2.0, 2.5, 3.0),
            "shift": (-3.0, -2.0, 4.0),
        }.items()
    }
    return nequip(torch.float64, levels, modals=["PBE", "SCAN"])


def test_levels_of_theory(tmp_path: Path) -> None:
    found = export_model(modal_potential(), "torchscript", tmp_path / "model.pt")
    assert all(one.passed for one in found)
    artefact = load_artefact(tmp_path / "model.pt")
    assert artefact.header.modals == ["PBE", "SCAN"]
    graph = artefact.references[0].graph(4.0)
    energies = [float(artefact(graph, torch.tensor([modal]))["energy"]) for modal in (0, 1)]
    assert abs(energies[0] - energies[1]) > 0.1
    with pytest.raises(Exception, match="give the argument modal exactly where"):
        artefact(graph)
    with pytest.raises(InputError, match="one level of theory; choose from PBE, SCAN with --modal NAME"):
        export_model(modal_potential(), "lammps", tmp_path / "model.pt")


@pytest.mark.parametrize("kind", ["torchscript", "lammps"])
def test_artefact_that_is_wrong_is_not_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model's numbers under this model's name; what was there before stays."""
    other = POTENTIALS["nequip-natural-3-layers"](torch.float64)
    with torch.no_grad():
        other.model.embedding[0, 0] += 1e-6
    form = {"torchscript": "scripted", "lammps": "domain_script"}[kind]
    make = getattr(export, form)
    monkeypatch.setattr(export, form, lambda potential, *rest: make(other, *rest))
    path = tmp_path / "model.pt"
    path.write_text("before")
    with pytest.raises(InputError, match=r"model.pt is not written: it does not give the model's answers: .*forces of"):
        export_model(POTENTIALS["nequip-natural-3-layers"](torch.float64), kind, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_check_repeated_where_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By what the artefact carries; one whose weights have changed since fails."""
    save_model(MODELS["plain"](torch.float64), tmp_path / "model.safetensors")
    good = tmp_path / "model.pt"
    assert main(["export", str(tmp_path / "model.safetensors"), "--to", "torchscript", "-o", str(good)]) == 0
    assert "forces         off by" in capsys.readouterr().out
    assert main(["export", "--check", str(good)]) == 0
    assert "torchscript of float64 on cpu, operators: torch" in capsys.readouterr().out

    with zipfile.ZipFile(good) as archive:
        texts = {name: archive.read(f"archive/extra/{name}") for name in ("equinet.json", "equinet-references.json")}
    module = torch.jit.load(good)
    with torch.no_grad():
        next(iter(module.parameters())).add_(1e-6)
    torch.jit.save(module, tmp_path / "changed.pt", _extra_files=texts)
    assert main(["export", "--check", str(tmp_path / "changed.pt")]) == 1
    assert "does not give its model's answers on this machine" in capsys.readouterr().err
    artefact = load_artefact(good)
    assert [one.passed for one in check_artefact(artefact)] == [True] * 5

    program = artefact.program

    def for_sorted_edges(*tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        unsorted = float((tensors[6].diff() < 0).any())
        return {name: value + unsorted for name, value in program(*tensors).items()}

    artefact.program = for_sorted_edges
    (found, *_) = check_artefact(artefact)
    assert not found.passed
    assert "shuffled edges" in found.structure

    for references, words in (
        (b"[]", "the artefact carries no structures to check it by"),
        (b"[{", "damaged structures to check it by"),
        (b'[{"name": "one"}]', "damaged structures to check it by"),
    ):
        texts["equinet-references.json"] = references
        torch.jit.save(module, tmp_path / "changed.pt", _extra_files=texts)
        assert main(["export", "--check", str(tmp_path / "changed.pt")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    if not torch.cuda.is_available():
        assert main(["export", "--check", str(good), "--device", "cuda"]) == 1
        assert "device cuda was asked for" in capsys.readouterr().err


def test_header_within_the_file(tmp_path: Path) -> None:
    potential = MODELS["plain"](torch.float32)
    potential.provenance = {"licence": "CC-BY-4.0", "modal": "PBE"}
    export_model(potential, "torchscript", tmp_path / "model.pt")
    extra = {"equinet.json": ""}
    torch.jit.load(tmp_path / "model.pt", _extra_files=extra)
    header = json.loads(extra["equinet.json"])
    assert header["provenance"] == potential.provenance
    assert header["units"]["stress"] == "eV/Angstrom^3"
    assert header["torch_version"] == torch.__version__


def test_a_fine_tuned_model_is_exported_under_its_parents_licence() -> None:
    potential = MODELS["plain"](torch.float32)
    parent = {"file": "parent.safetensors", "provenance": {"licence": "MIT, (c) Somebody"}}
    potential.provenance = {"parent": parent}
    assert header_of(potential, "torchscript", "torch").provenance == {
        "parent": parent,
        "licence": "MIT, (c) Somebody",
    }
    potential.provenance = {"parent": parent, "licence": "CC-BY-4.0"}
    assert header_of(potential, "torchscript", "torch").provenance["licence"] == "CC-BY-4.0"
    potential.provenance = {}
    assert header_of(potential, "torchscript", "torch").provenance == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL", "--to", "torchscript"], "give MODEL, --to KIND and -o FILE, or --check FILE"),
        (["MODEL", "--to", "torchscript", "-o", "model.pth"], "the name of a torchscript file must end in .pt"),
        (["MODEL", "--to", "lammps", "-o", "model.pt", "--operators", "torch"], "LAMMPS calls libequinet_ops"),
        (["--check", "nothing.pt"], "no file nothing.pt"),
        (["--check", "MODEL"], "is no exported model, or is damaged"),
        (["MODEL", "--to", "torchscript", "-o", "no/folder/model.pt"], "there is no folder no/folder"),
        (["MODEL", "--check", "nothing.pt"], "--check FILE stands alone"),
        (["--check", "MODEL", "--dtype", "float32"], "--dtype would have no effect: an artefact is checked as it was"),
        (["--check", "MODEL", "--operators", "library"], "--operators would have no effect"),
        (["--check", "MODEL", "--modal", "PBE"], "--modal would have no effect"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_model(MODELS["plain"](torch.float32), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    assert main(["export", *(argument.replace("MODEL", "model.safetensors") for argument in arguments)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_scripts_leave_the_model_as_it_was() -> None:
    potential = MODELS["plain"](torch.float32)
    script(potential, library=True)
    assert not any(getattr(module, "library_in_script", False) for module in potential.modules())
