"""The uncertainty file: tensors and one JSON header in safetensors form, bound to its models by checksum."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from equinet import __version__
from equinet.errors import InputError
from equinet.files import replacing
from equinet.models import Potential, load_model
from equinet.uncertainty.calibration import Calibration
from equinet.uncertainty.committee import Committee
from equinet.uncertainty.estimate import Uncertainty
from equinet.uncertainty.frames import fingerprint
from equinet.uncertainty.last_layer import LastLayer
from equinet.uncertainty.source import Source
from equinet.uncertainty.support import Support

FORMAT_VERSION = 1
_KEY = "equinet_uncertainty"


def save_uncertainty(uncertainty: Uncertainty, path: str | Path, models: Sequence[Path]) -> None:
    """Write the file. It holds no model: paths of a committee's, from its folder, and checksums of all.

    Args:
        uncertainty: to save.
        path: usually ``*.safetensors``.
        models: files of its models, in their order.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    source = uncertainty.source
    header = {
        "format_version": FORMAT_VERSION,
        "equinet_version": __version__,
        "kind": source.kind,
        "models": [
            {"path": os.path.relpath(model.resolve(), path.resolve().parent), "fingerprint": fingerprint(potential)}
            for model, potential in zip(models, source.potentials, strict=True)
        ],
        "calibrations": {name: dataclasses.asdict(one) for name, one in uncertainty.calibrations.items()},
        "calibration_rmse": uncertainty.errors,
        "facts": uncertainty.facts,
    }
    tensors = {f"support.{name}": tensor for name, tensor in vars(uncertainty.support).items()}
    tensors["used"] = torch.from_numpy(uncertainty.used)
    if isinstance(source, LastLayer):
        tensors |= {"root": source.root, "directions": source.directions}
    stored = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}  # exact directions are the root
    with replacing(path) as partial:
        partial.write_bytes(serialize(stored, metadata={_KEY: json.dumps(header)}))


def load_uncertainty(path: str | Path, potential: Potential) -> Uncertainty:
    """Read the uncertainty of a model; of a committee, with all its members.

    Args:
        path: of the file.
        potential: the model, or one of the committee; the others are read from their files.

    Raises:
        InputError: no such file, not one of ours, damaged, or made for another model.
    """
    path = Path(path)
    header, tensors = _open(path)
    try:
        models, kind = header["models"], header["kind"]
        own = fingerprint(potential)
        if own not in [model["fingerprint"] for model in models]:
            raise InputError(
                f"{path} was made for another model, {models[0]['path']}; "
                "make one for this model with equinet uncertainty"
            )
        source: Source
        if kind == LastLayer.kind:
            source = LastLayer(potential, tensors["root"], tensors["directions"])
        else:
            members = [_member(path, model, potential, own) for model in models]
            source = Committee(members, [model["path"] for model in models])
        support = Support(**{field.name: tensors[f"support.{field.name}"] for field in dataclasses.fields(Support)})
        calibrations = {name: Calibration(**values) for name, values in header["calibrations"].items()}
        return Uncertainty(
            source,
            support.to(potential.scale.device),
            calibrations,
            header["calibration_rmse"],
            tensors["used"].numpy(),
            header["facts"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again with equinet uncertainty") from None


def _member(path: Path, model: dict[str, str], potential: Potential, own: str) -> Potential:
    """A model of a committee: the one at hand, or read from its file."""
    if model["fingerprint"] == own:
        return potential
    file = path.parent / model["path"]
    if not file.is_file():
        raise InputError(f"{path}: the committee's model {file} is missing; restore it, or make the file anew")
    modal = potential.provenance.get("modal")
    member = load_model(file, potential.scale.device, potential.dtype)
    if member.modals:
        member = load_model(file, potential.scale.device, potential.dtype, modal=modal)
    if fingerprint(member) != model["fingerprint"]:
        raise InputError(f"{path}: the committee's model {file} is another one by now; make the file anew")
    return member.requires_grad_(False)


def _open(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors."""
    if not path.is_file():
        raise InputError(f"no uncertainty file {path}; make one with equinet uncertainty")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()} if text else {}  # noqa: SIM118 not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not an uncertainty file, or is damaged ({error}); make it again") from None
    if text is None:
        raise InputError(f"{path} is no uncertainty file; equinet uncertainty makes one")
    try:
        header: dict[str, Any] = json.loads(text)
        version = int(header["format_version"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} has a damaged header; make it again with equinet uncertainty") from None
    if version > FORMAT_VERSION:
        raise InputError(f"{path} has format version {version}, newer than this equinet reads; upgrade equinet")
    return header, tensors
