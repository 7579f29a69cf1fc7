"""From a potential to an artefact that has been judged before it is written."""

from collections.abc import Callable
from pathlib import Path

import torch

from equinet.deploy.artefact import load_artefact
from equinet.deploy.check import Deviation, check_artefact
from equinet.deploy.domain import domain_script
from equinet.deploy.header import HEADER, REFERENCES, Header, header_of
from equinet.deploy.references import references_of, to_json
from equinet.deploy.scripted import scripted
from equinet.errors import InputError
from equinet.files import replacing
from equinet.models import Potential

Files = dict[str, str]
"""Texts to embed, by their names."""


def _torchscript(potential: Potential, header: Header, files: Files, path: Path) -> None:
    _write(scripted(potential, header.operators == "library"), files, path)


def _lammps(potential: Potential, header: Header, files: Files, path: Path) -> None:
    if potential.modals:
        names = ", ".join(potential.modals)
        raise InputError(f"LAMMPS runs one level of theory; choose from {names} with --modal NAME")
    _write(domain_script(potential), files, path)


def _write(module: torch.jit.ScriptModule, files: Files, path: Path) -> None:
    # from a buffer, since torch would name the archive's folder after the temporary file
    path.write_bytes(module.save_to_buffer(_extra_files=dict(files)))


def _aoti(potential: Potential, header: Header, files: Files, path: Path) -> None:
    from equinet.deploy.aoti import compile_package

    compile_package(potential, header, files, path)


KINDS: dict[str, tuple[str, str, Callable[[Potential, Header, Files, Path], None]]] = {
    "torchscript": (".pt", "torch", _torchscript),
    "aoti": (".pt2", "torch", _aoti),
    "lammps": (".pt", "library", _lammps),
}
"""Suffix, operators unless others are asked for, and writer of each kind of artefact."""


def export_model(potential: Potential, kind: str, path: str | Path, operators: str | None = None) -> list[Deviation]:
    """Write an artefact, once it has given the model's answers.

    Args:
        potential: on the device and in the precision that the artefact is for, in eval mode; plain or compiled.
        kind: one of :data:`KINDS`.
        path: of the file.
        operators: "torch" or "library" (libequinet_ops, faster); None: torch, but for LAMMPS, which needs the library.

    Returns:
        What the check found.

    Raises:
        InputError: no such kind; one that cannot be made of this potential; an artefact that fails its check, which is
            not written; a file that cannot be written.
    """
    if kind not in KINDS:
        raise InputError(f"there is no artefact {kind!r}; there are {', '.join(KINDS)}")
    path = Path(path)
    suffix, usual, write = KINDS[kind]
    if path.suffix != suffix:
        raise InputError(f"cannot write {path}: the name of a {kind} file must end in {suffix}")
    header = header_of(potential, kind, operators or usual)
    if kind == "lammps" and header.operators != "library":
        raise InputError("a model for LAMMPS calls libequinet_ops, which the plugin brings; leave out --operators")
    files = {HEADER: header.to_json(), REFERENCES: to_json(references_of(potential))}
    with replacing(path) as partial:
        named = partial.with_suffix(suffix)  # torch's packages are known by their suffix
        try:
            write(potential, header, files, named)
            found = check_artefact(load_artefact(named, str(potential.scale.device)))
            failed = [one for one in found if not one.passed]
            if failed:
                raise InputError(f"{path} is not written: {_words(failed)}")
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)
    return found


def _words(failed: list[Deviation]) -> str:
    """What an artefact failed by, in one line."""
    parts = [f"{one.quantity} of '{one.structure}' is off by {one.value:.1e} (limit {one.limit:.0e})" for one in failed]
    return "it does not give the model's answers: " + "; ".join(parts)
