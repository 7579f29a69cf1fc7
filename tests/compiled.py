"""What tests compile: once for each state of the sources and version of torch, whichever process comes first."""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from equinet_kernels import native

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "kernels"))

import ops_build  # noqa: E402


def once(config: pytest.Config, name: str, content: bytes, build: Callable[[Path], object]) -> Path:
    """A folder that ``build`` has filled, kept in pytest's cache for as long as the content is the same."""
    folder = config.cache.mkdir("compiled")
    target = folder / f"{name}-{sha256(content).hexdigest()[:16]}"
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes of one test run
        if not (target / "done").exists():
            target.mkdir(exist_ok=True)
            build(target)
            (target / "done").touch()
    return target


def ops_library(config: pytest.Config) -> Path:
    """libequinet_ops.so, the libraries that it opens beside it."""
    torch_folder = ops_build.torch_of_this_interpreter()
    stamp = ops_build.stamp(torch_folder).encode()
    folder = once(config, "ops", stamp, lambda target: ops_build.build(target, torch_folder))
    for path in native.FOLDER.glob("libequinet_cpu-*.so"):
        beside = folder / path.name
        if not beside.is_symlink() or beside.readlink() != path:
            beside.unlink(missing_ok=True)
            beside.symlink_to(path)
    return folder / ops_build.NAME


def program(config: pytest.Config, source: Path) -> Path:
    """A C++ program of one file that uses torch."""
    torch_folder = ops_build.torch_of_this_interpreter()

    def build(target: Path) -> None:
        flags = [*ops_build.compile_flags(torch_folder), "-O1", f"-Wl,-rpath,{torch_folder / 'lib'}"]
        libraries = [*ops_build.link_flags(torch_folder), "-ldl"]
        command = [ops_build.find_compiler(), *flags, str(source), "-o", str(target / source.stem), *libraries]
        subprocess.run(command, check=True)

    return once(config, source.stem, ops_build.stamp(torch_folder).encode() + source.read_bytes(), build) / source.stem
