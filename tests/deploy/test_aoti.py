"""AOTInductor packages: compiled, they give their model's answers, and refuse what they would misread."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from equinet.cli.main import main
from equinet.deploy import export_model, load_artefact
from equinet.deploy.check import TOLERANCES, shuffled
from equinet.errors import InputError
from equinet.graph import collate
from equinet.models import Potential
from tests.deploy.conftest import MODELS
from tests.deploy.elsewhere import calls_of, compare, run_alone

Packages = dict[str, tuple[Potential, Path]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """A plain model on torch alone in float64, a compiled one with the library in float32: each takes half a minute."""
    folder = tmp_path_factory.mktemp("packages")
    found = {}
    for operators, name, dtype in (("torch", "repulsive", torch.float64), ("library", "compiled", torch.float32)):
        potential, path = MODELS[name](dtype), folder / f"{operators}.pt2"
        assert all(one.passed for one in export_model(potential, "aoti", path, operators))
        found[operators] = (potential, path)
    return found


@pytest.mark.parametrize("operators", ["torch", "library"])
def test_without_equinet(operators: str, packages: Packages, ops_library: Path, tmp_path: Path) -> None:
    """The same answers for every structure, one atom and none of the edges included, and for edges in any order and
    number; strided inputs and unknown elements are refused; NaN stays NaN.
    """
    _, path = packages[operators]
    artefact = load_artefact(path)
    # empty tensors may have any stride, and count as dense; a bare package wants the usual one there, too
    calls = [[torch.empty(one.shape, dtype=one.dtype).copy_(one) for one in call] for call in calls_of(artefact)[::2]]
    crystal = calls[0]
    transposed = [crystal[0].T.contiguous().T, *crystal[1:]]
    stretched = [*crystal[:5], torch.stack([crystal[5], crystal[5]], dim=1)[:, 0], *crystal[6:]]
    rounded = [crystal[0].float(), *crystal[1:]]
    unknown = [crystal[0], torch.full_like(crystal[1], 79), *crystal[2:]]
    first = artefact.references[0].graph(artefact.header.cutoff)
    many = collate([first] * (1 + 40_000 // len(first.senders)))
    nowhere = [crystal[0].clone(), *crystal[1:]]
    nowhere[0][1, 2] = float("nan")
    library = [ops_library] if operators == "library" else []
    wrong = [transposed, stretched, rounded, unknown]
    found = run_alone(path, [*calls, list(shuffled(first)), list(many), nowhere, *wrong], tmp_path, *library)
    tolerance = TOLERANCES[artefact.header.dtype]
    compare(found[:-6], [*artefact.references, artefact.references[0]], tolerance)
    alike = found[-6]["energy"]
    torch.testing.assert_close(alike, found[0]["energy"].expand_as(alike), rtol=tolerance, atol=tolerance)
    assert bool(found[-5]["energy"].isnan().all())
    for words, expected in zip(found[-4:], ("stride", "stride", "dtype", "the potential knows the"), strict=True):
        assert isinstance(words, str), "an input was misread, not refused"
        assert expected in words


def test_header_and_check(packages: Packages, capsys: pytest.CaptureFixture[str]) -> None:
    potential, path = packages["torch"]
    header = load_artefact(path).header
    assert (header.kind, header.dtype, header.device) == ("aoti", "float64", "cpu")
    assert header.species == potential.species
    assert main(["export", "--check", str(path)]) == 0
    assert "aoti of float64 on cpu, operators: torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("torch_version", "2.4.1", "was compiled with torch 2.4 and this is 2."),
        ("device", "cuda", "device cuda was asked for, but torch sees 0 GPU"),
        ("format_version", 99, "has format version 99, newer than this equinet reads"),
        ("species", None, "has a damaged equinet header"),
    ],
)
def test_package_for_elsewhere_is_refused(
    field: str, value: object, words: str, packages: Packages, tmp_path: Path
) -> None:
    if field == "device" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(packages["torch"][1]) as package, zipfile.ZipFile(changed, "w") as copy:
        for name in package.namelist():
            content = package.read(name)
            if name.endswith("equinet.json"):
                header = json.loads(content) | {field: value}
                content = json.dumps({key: value for key, value in header.items() if value is not None}).encode()
            copy.writestr(name, content)
    with pytest.raises(InputError, match=words):
        load_artefact(changed)
