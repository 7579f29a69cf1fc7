"""Files that are whole or absent, whenever the process or the machine stops; and their checksums."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from equinet.errors import InputError


def check_output(path: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Say before the work starts that a file cannot be written.

    Raises:
        InputError: no such folder, not writable, a folder itself, or the suffix is not one of ``suffixes``.
    """
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"cannot write {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {path.parent} is not writable")


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Say before the work starts that an output would take the place of an input, or of another output.

    Args:
        outputs: files, by the option that names each, as the user spells it; None where there is none.
        inputs: files and folders, STORE:NAME for a part of a store; likewise.

    Raises:
        InputError: one would.
    """
    read = {os.path.realpath(whole_and_part(Path(path))[0]) for path in inputs if path is not None}
    written: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in read:
            raise InputError(f"{option} {path} is one of the inputs; give the output another name")
        if place in written:
            raise InputError(f"{option} {path} is what {written[place]} names too; give each output a name of its own")
        written[place] = option


def whole_and_part(path: Path) -> tuple[Path, str]:
    """Take ``STORE:NAME`` apart; of a path that is there, or that names no part, the part is empty."""
    stem, colon, name = path.name.rpartition(":")
    if not colon or path.exists():
        return path, ""
    return (path.with_name(stem) if stem else path.parent), name


def make_folder(folder: Path) -> None:
    """Make the folder of results, before the work starts.

    Raises:
        InputError: it cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}; name another") from None


class WriteError(InputError):
    """A file could not be written to its end; the disk may be full."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path in the same folder to write to; on success it becomes ``path``, on an exception it is removed.

    Raises:
        InputError: the file cannot be written (see :func:`check_output`).
        WriteError: nor could it be finished.
    """
    check_output(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        commit(partial, path)
    except OSError as error:
        kept = "what was there before is kept; make room and go on" if path.exists() else "make room and try again"
        raise WriteError(f"cannot write {path}: {error.strerror or error}; {kept}") from error
    finally:
        partial.unlink(missing_ok=True)


def commit(partial: Path, path: Path) -> None:
    """Sync a finished file, then rename it: after a crash the file is the old one or the new one, never half of one."""
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(source: Path) -> str:
    """SHA-256 of a file; of a folder's names and checksums."""
    if not source.is_dir():
        return sha256(source)
    lines = [f"{file.relative_to(source)} {sha256(file)}" for file in files_of(source)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def files_of(source: Path) -> list[Path]:
    """A file, or all files of a folder and those in it."""
    return sorted(file for file in source.rglob("*") if file.is_file()) if source.is_dir() else [source]


def sync(path: Path) -> None:
    """Push a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
