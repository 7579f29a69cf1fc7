"""Where dynamics go on after a kill: one file, whole or absent, of arrays and text; nothing in it is ever executed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from equinet.errors import InputError
from equinet.files import replacing
from equinet.simulate.engine import State

_ENGINE = "engine_"
_VERSION = 3


def checkpoint_path(output: Path) -> Path:
    """Beside a trajectory."""
    return output.with_name(output.name + ".checkpoint")


def save_checkpoint(path: Path, identity: dict[str, Any], progress: dict[str, Any], state: State) -> None:
    """Write a checkpoint in place of the one before.

    Args:
        path: of the file.
        identity: what a run is of, JSON-able: must be the same to go on.
        progress: how far it is, JSON-able.
        state: of a propagator.

    Raises:
        WriteError: it cannot be written; the one before is kept.
    """
    rest = {name: value for name, value in state.items() if name != "engine"}
    header = {"version": _VERSION, "identity": identity, "progress": progress, "state": rest}
    arrays: dict[str, Any] = {_ENGINE + name: np.asarray(value) for name, value in state["engine"].items()}
    arrays["header"] = np.array(json.dumps(header))
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> tuple[dict[str, Any], State]:
    """The progress and the state of a checkpoint.

    Raises:
        InputError: it is damaged, or of something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            engine = {name.removeprefix(_ENGINE): file[name] for name in file.files if name.startswith(_ENGINE)}
        version, saved = header["version"], header["identity"]
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it, and start anew") from None
    if version != _VERSION:
        raise InputError(f"{path} is of another version of equinet; go on with that, or start anew")
    for name, value in identity.items():
        if saved.get(name) != value:
            raise InputError(
                f"{path} is of a run with another {name.replace('_', ' ')} ({saved.get(name)}, now {value}); give "
                "what it was begun with, or start anew"
            )
    return header["progress"], {"engine": engine, **header["state"]}


def digest(structures: Iterable[Atoms]) -> str:
    """SHA-256 of structures: atoms, positions, cells and velocities."""
    found = hashlib.sha256()
    for atoms in structures:
        for values in (atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc, atoms.get_momenta()):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()
