"""Where another package's checkpoint is, and its contents: read without running any code from it."""

import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from equinet.errors import InputError


class Checkpoint(NamedTuple):
    """What a checkpoint holds, and where it comes from."""

    content: dict[str, Any]
    source: str  # path, or wheel and path within it
    sha256: str


def find_in_wheel(package: str, version: str, inside: str) -> tuple[bytes, str]:
    """The bytes of a file that a package ships: of the installed package, or of a wheel in the current folder.

    Args:
        package: name on PyPI and for import; it is not imported.
        version: the one to ask for.
        inside: path of the file within the package.

    Returns:
        Its bytes, and where they were found.

    Raises:
        InputError: neither is there; the message has the command that gets the wheel.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / inside).is_file():
            return path.read_bytes(), str(path)
    for wheel in sorted(Path.cwd().glob(f"{package}-*.whl"), reverse=True):
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(f"{package}/{inside}"), f"{wheel.name}:{package}/{inside}"
        except KeyError:
            continue
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{wheel} is damaged ({error}); download it again") from None
    raise InputError(
        f"{package} is not installed, and there is no wheel of it here that has {inside}; "
        f"get it with: pip download --no-deps {package}=={version}"
    )


def read_checkpoint(data: bytes, source: str) -> Checkpoint:
    """Unpickle a torch checkpoint with tensors, plain values and numpy arrays in it, and nothing else.

    Raises:
        InputError: damaged, or with objects of other kinds, which are never made.
    """
    try:
        with torch.serialization.safe_globals(_allowed()):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler met
        words = " ".join(str(error).split())
        reason = words[words.find("Unsupported") :] if "Unsupported" in words else words
        raise InputError(
            f"{source} is damaged, or holds more than tensors and plain values ({reason[:200]}); download it again"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{source} is no checkpoint: it holds a {type(content).__name__}")
    return Checkpoint(content, source, hashlib.sha256(data).hexdigest())


def _allowed() -> list[Any]:
    """What numpy arrays in a checkpoint need: no more than making arrays of numbers from bytes."""
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    return [
        np.ndarray,
        np.dtype,
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        (reconstruct, "numpy._core.multiarray._reconstruct"),
        *kinds,
    ]
