"""Keeps generated kernels as Python files, because Triton reads a kernel's source from its file.

A file is named by all that its content depends on: specification, level, dtype, the generator's own source, and
Triton's version. Its last line is a hash of what stands above, so that a file cut short or changed is noticed and
written again. Any number of processes may share a folder: files appear whole, and two that write one name write the
same text.
"""

import atexit
import hashlib
import importlib.util
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch

from equinet_kernels import basis
from equinet_kernels import spec as specification
from equinet_kernels.conv.triton import group, lines, plan, source
from equinet_kernels.conv.triton.plan import Level
from equinet_kernels.spec import ConvSpec


class Location(NamedTuple):
    """Where new files go, and why there."""

    folder: Path
    reason: str


def cache_location() -> Location:
    """The folder of generated kernels.

    ``kernels`` in the folder that the environment variable EQUINET_CACHE names, or else ``equinet/kernels`` in the
    user's folder of caches (XDG_CACHE_HOME, ~/.cache). Where that cannot be written, it is a folder of this process
    alone that vanishes with it; files that stand in the other already are used all the same.
    """
    wanted = _wanted_location()
    obstacle = _obstacle(wanted.folder)
    if obstacle is None:
        return wanted
    reason = f"{wanted.folder} ({wanted.reason}) cannot be written: {obstacle}"
    return Location(_private_folder(os.getpid()), reason)


def _wanted_location() -> Location:
    if named := os.environ.get("EQUINET_CACHE"):
        return Location(Path(named).absolute() / "kernels", "EQUINET_CACHE")
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Location(Path(named).absolute() / "equinet" / "kernels", "XDG_CACHE_HOME")
    return Location(Path("~/.cache/equinet/kernels").expanduser(), "home folder")


@cache
def _obstacle(folder: Path) -> str | None:
    """What keeps this process from writing to a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return str(error)


@cache
def _private_folder(process: int) -> Path:
    """A folder that only this user can enter. A forked process has its own, since the parent's vanishes with the
    parent."""
    folder = Path(tempfile.mkdtemp(prefix="equinet-kernels-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def kernel_module(spec: ConvSpec, level: Level, dtype: torch.dtype) -> ModuleType:
    """The kernels of one level: see :func:`.source.write_source` for what the module defines.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton

    return _kernel_module(spec, level, dtype, triton.__version__, triton.knobs.runtime.interpret)


@cache
def _kernel_module(
    spec: ConvSpec, level: Level, dtype: torch.dtype, triton_version: str, interpret: bool
) -> ModuleType:
    """``interpret`` is read when a kernel is defined: the same file then makes another module."""
    inputs = "\n".join([str(spec), level.value, str(dtype), triton_version, generator_version()])
    name = f"equinet_uvu_{level.value}_{hashlib.sha256(inputs.encode()).hexdigest()[:24]}"
    return load_module(name, lambda: _untraced(lambda: source.write_source(spec, level, dtype)))


def _untraced(compute: Callable[[], str]) -> str:
    """Compute in a thread of its own. Whatever traces torch, or replaces its tensors, does so within a thread, and a
    kernel may be needed for the first time amidst it; coupling constants are then no part of a graph, but needed."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(compute).result()


@cache
def generator_version() -> str:
    """Hash of all source that the text of a kernel depends on."""
    texts = [inspect.getsource(module) for module in (basis, specification, lines, plan, group, source)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def load_module(name: str, write: Callable[[], str]) -> ModuleType:
    """Import a generated module, from its file if there is one, else from a new one.

    Args:
        name: what determines the text, in a word.
        write: makes the text.
    """
    file = _wanted_location().folder / f"{name}.py"
    text = _read(file)
    if text is None:
        text = write()
        file = _store(name, text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Not by the spec's own loader: it would read the file again, and trust bytecode beside it.
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def _seal(text: str) -> str:
    return f"# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"


def _read(file: Path) -> str | None:
    """What was stored; nothing if there is no such file, or it is not what was written."""
    try:
        text, mark, rest = file.read_text(encoding="utf-8").rpartition("# sha256 ")
    except (OSError, UnicodeDecodeError):
        return None
    return text if mark + rest == _seal(text) else None


def _store(name: str, text: str) -> Path:
    """Write a file as a whole, where new files go; in the private folder if that has become full or read-only."""
    folder = cache_location().folder
    try:
        return _write(folder / f"{name}.py", text)
    except OSError:
        private = _private_folder(os.getpid())
        if folder == private:
            raise
        return _write(private / f"{name}.py", text)


def _write(file: Path, text: str) -> Path:
    handle, draft = tempfile.mkstemp(prefix=file.stem, suffix=".tmp", dir=file.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text + _seal(text))
        os.replace(draft, file)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return file
