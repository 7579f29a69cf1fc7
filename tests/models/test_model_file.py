"""A stranger's model file: everything wrong with it is one clear error, and nothing in it runs."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from equinet.errors import InputError
from equinet.models import load_model, read_header, save_model
from tests.models.conftest import POTENTIALS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_model(POTENTIALS["nequip"](torch.float32), file)
    return file


def rewrite(path: Path, change) -> None:
    """Change the header or the tensors of a model file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["equinet"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={"equinet": json.dumps(header)})


def test_header(path: Path) -> None:
    header = read_header(path)
    assert header["architecture"] == "nequip"
    assert header["species"] == [6, 8, 14]
    assert header["hyper_parameters"]["cutoff"] == 4.0
    assert header["units"]["energy"] == "eV"


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model file"):
        load_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 200, -100])
def test_truncated(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="is not a model file, or is damaged"):
        load_model(path)


def test_pickle_is_not_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="is not a model file"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="not an equinet model"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h, t: h.update(format_version=99), "format version 99, newer"),
        (lambda h, t: h.update(architecture="os.system"), "architecture 'os.system'; this equinet knows nequip"),
        (lambda h, t: h["hyper_parameters"].update(surprise=1), "does not know: surprise"),
        (lambda h, t: h["hyper_parameters"].update(layers=10**9), "architecture.layers is 1000000000"),
        (lambda h, t: h["hyper_parameters"].update(channels=4096), "far more than the"),
        (lambda h, t: h["hyper_parameters"].update(radial_hidden=[4096, 4096, 4096]), "far more than the"),
        (lambda h, t: h["hyper_parameters"].update(channels="many"), "wrong type|must be"),
        (lambda h, t: h["hyper_parameters"].update(channels=7), "does not fit its own header"),
        (lambda h, t: h.update(species=[6, 8]), "one finite number for each of 2 species"),
        (lambda h, t: h.update(species=[6, 8, 300]), "atomic numbers in ascending order"),
        (lambda h, t: h.pop("species"), "'species' is missing"),
        (lambda h, t: h.update(dtype="float16"), "use float32 or float64"),
        (lambda h, t: t.pop("scale"), "does not fit its own header"),
        (lambda h, t: t.pop("model.embedding"), "does not fit its own header"),
        (lambda h, t: t.update(scale=torch.full((3,), torch.nan)), "scale needs one finite number"),
    ],
)
def test_damaged_or_hostile(path: Path, change, words: str) -> None:
    rewrite(path, change)
    with pytest.raises(InputError, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_device_that_is_not_there(path: Path) -> None:
    with pytest.raises(InputError, match=r"torch sees \d GPU"):
        load_model(path, device="cuda" if not torch.cuda.is_available() else "cuda:99")
    with pytest.raises(InputError, match="is not a device"):
        load_model(path, device="gpu please")


@pytest.mark.parametrize("device", ["mps", "meta", torch.device("xpu:1")])
def test_device_of_another_kind(path: Path, device: str | torch.device) -> None:
    with pytest.raises(InputError, match=f"does not run on the device '{device}'; use cpu, cuda or cuda:N"):
        load_model(path, device=device)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        save_model(POTENTIALS["nequip"](torch.float32), tmp_path / "absent" / "model.safetensors")


def test_other_precision(path: Path) -> None:
    loaded = load_model(path, dtype="float64")
    assert loaded.dtype == torch.float64
    assert loaded.model.embedding.dtype == torch.float64
    assert loaded.with_dtype(torch.float32).model.embedding.dtype == torch.float32
