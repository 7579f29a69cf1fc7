"""The model file: tensors and one JSON header in safetensors form. Nothing in it is executed, imported or unpickled."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from equinet import __version__
from equinet.errors import InputError
from equinet.files import replacing
from equinet.models import ARCHITECTURES
from equinet.models.adaptation import merged
from equinet.models.compiled import CompiledNequIPArchitecture
from equinet.models.modals import one_modal
from equinet.models.placement import available_device, resolve_dtype
from equinet.models.potential import Potential
from equinet.nn.lora import is_adapted

FORMAT_VERSION = 1
"""Raised when a reader of an older version could misread a newer file; upgraders turn old headers into new ones."""

MAX_PARAMETERS = 2_000_000_000
"""Bound on what a header may ask to allocate."""

UNITS = {"energy": "eV", "length": "Angstrom", "mass": "amu", "stress": "eV/Angstrom^3"}


def save_model(potential: Potential, path: str | Path) -> None:
    """Write a model file: to a temporary file beside it, synced, then renamed. A reader never sees half a file.

    Args:
        potential: what to save; weights are stored in its dtype, energies in float64, low-rank updates within the
            matrices they change.
        path: usually ``*.safetensors``.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    if is_adapted(potential):
        potential = merged(potential)
    name = next(n for n, kind in ARCHITECTURES.items() if kind is type(potential.architecture))
    header = {
        "format_version": FORMAT_VERSION,
        "equinet_version": __version__,
        "architecture": name,
        "hyper_parameters": dataclasses.asdict(potential.architecture),
        "species": potential.species,
        "subtract_isolated": potential.subtract_isolated,
        "zbl": potential.zbl is not None,
        "dtype": str(potential.dtype).removeprefix("torch."),
        "units": UNITS,
        "provenance": potential.provenance,
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in potential.state_dict().items()}
    with replacing(path) as partial:
        partial.write_bytes(serialize(tensors, metadata={"equinet": json.dumps(header)}))


def read_header(path: str | Path) -> dict[str, Any]:
    """Read and check a model file's header.

    Raises:
        InputError: no such file, not a model file of ours, truncated, or of a newer format.
    """
    return _open(Path(path))[0]


def _open(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a model file."""
    if not path.is_file():
        raise InputError(f"no model file {path}; give the path of a *.safetensors file that equinet wrote")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("equinet")
            tensors = {key: file.get_tensor(key) for key in file.keys()} if text else {}  # noqa: SIM118 not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a model file, or is damaged ({error}); copy or train it again") from None
    if text is None:
        raise InputError(f"{path} is a safetensors file, but not an equinet model: it has no equinet header")
    try:
        header = json.loads(text)
        version = int(header["format_version"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} has a damaged equinet header; copy or train it again") from None
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, newer than this equinet reads ({FORMAT_VERSION}); upgrade equinet"
        )
    return header, tensors


def _hyper_parameters(kind: type, values: Any, path: Path) -> Any:
    """Build the dataclass from JSON; only its own fields, and its own checks."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: hyper_parameters is not a table; the file is damaged")
    unknown = set(values) - set(get_type_hints(kind))
    if unknown:
        raise InputError(f"{path} has hyper-parameters this equinet does not know: {', '.join(sorted(unknown))}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError):
        raise InputError(f"{path} has hyper-parameters of the wrong type; the file is damaged") from None


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    fast: bool = False,
    modal: str | None = None,
) -> Potential:
    """Load a potential, in eval mode.

    Safe on a stranger's file: the header may only name an architecture of a closed table, whose arguments are checked
    before anything is allocated.

    Args:
        path: a model file.
        device: where to put it.
        dtype: of weights and features, "float32" or "float64"; None: as stored.
        fast: whether to turn it into its compiled form, as ``equinet compile`` does, which takes some ten seconds; a
            compiled file is so already.
        modal: the level of theory to take from a potential that knows several; None: all of them.

    Raises:
        InputError: a file that cannot be read; an unknown architecture; tensors that do not fit the header; a device
        that is not there; a modal that it does not know; with ``fast``, a potential that cannot be compiled.
    """
    path = Path(path)
    header, tensors = _open(path)
    kind = ARCHITECTURES.get(header.get("architecture", ""))
    if kind is None:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"{path} has architecture {header.get('architecture')!r}; this equinet knows {known}")
    architecture = _hyper_parameters(kind, header.get("hyper_parameters"), path)
    stored = sum(tensor.numel() for tensor in tensors.values())
    if stored > MAX_PARAMETERS:
        raise InputError(f"{path} holds {stored} numbers, more than any model of ours; it is not loaded")
    try:
        values = {name: tensors[name].tolist() for name in ("reference_energies", "scale", "shift")}
        potential_dtype = resolve_dtype(dtype if dtype is not None else header["dtype"])
        _check_size(architecture, len(header["species"]), tensors)
        # building draws random weights that are overwritten: the caller's random state is left alone
        with torch.random.fork_rng(devices=[]):
            potential = Potential(
                architecture,
                species=header["species"],
                isolated_energies=values["reference_energies"],
                scale=values["scale"],
                shift=values["shift"],
                subtract_isolated=bool(header["subtract_isolated"]),
                zbl=bool(header["zbl"]),
                dtype=potential_dtype,
                provenance=header.get("provenance") or {},
            )
        potential.load_state_dict(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except KeyError as error:
        raise InputError(f"{path} does not fit its own header: {error} is missing; the file is damaged") from None
    except (TypeError, ValueError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{path} does not fit its own header ({words}); the file is damaged") from None
    if modal is not None:
        potential = one_modal(potential, modal)
    if fast and not isinstance(architecture, CompiledNequIPArchitecture):
        from equinet.models.compilation import compile_potential

        potential = compile_potential(potential).potential
    return potential.to(available_device(device)).eval()


def _check_size(architecture: Any, num_species: int, tensors: dict[str, torch.Tensor]) -> None:
    """Refuse a header that asks for more weights than the file holds, before memory is taken for them."""
    stored = sum(tensor.numel() for key, tensor in tensors.items() if key.startswith("model."))
    least = architecture.least_weights(num_species)
    if least > stored:
        raise InputError(f"its header describes at least {least} weights, far more than the {stored} it holds")
