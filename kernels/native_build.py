"""Compiles the CPU operators, once for each instruction set, with whatever C++ compiler there is.

    python kernels/native_build.py       build in place, into kernels/equinet_kernels/lib

Called by the build of the package (``hatch_build.py``); needs neither torch nor anything else outside the standard
library. CXX names the compiler.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc" / "cpu"
TARGET = HERE / "equinet_kernels" / "lib"

# No -march=native: what is built here may run elsewhere. No -ffast-math: linked with it, a library makes the whole
# process flush small numbers to zero.
FLAGS = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-Wall", "-Wextra"]
VARIANTS = {
    "x86_64": {
        "x86_64_v2": ["-march=x86-64-v2"],
        "x86_64_v3": ["-march=x86-64-v3"],
        "x86_64_v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    },
    "aarch64": {"aarch64_neon": []},
}
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class BuildError(Exception):
    """Why there is no library; one sentence."""


def find_compiler() -> str:
    """The C++ compiler: CXX, or the first of c++, g++, clang++.

    Raises:
        BuildError: there is none.
    """
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        if path := shutil.which(name):
            return path
    raise BuildError("there is no C++ compiler (c++, g++, clang++, or the one that CXX names)")


def _run(command: list[str]) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")


def _stamp(compiler: str, flags: dict[str, list[str]]) -> str:
    """Changes with everything that the libraries depend on."""
    content = hashlib.sha256(repr((compiler, FLAGS, flags)).encode())
    for path in sorted(SOURCES.iterdir()):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def build() -> list[Path]:
    """Compile what is not up to date.

    Returns:
        The libraries, one for each instruction set of this kind of processor.

    Raises:
        BuildError: no compiler, no sources for this processor, or an error of the compiler. What was there stays.
    """
    machine = MACHINES.get(platform.machine().lower())
    if machine is None:
        raise BuildError(f"there is no CPU kernel for processors of the kind {platform.machine()}")
    compiler, flags = find_compiler(), VARIANTS[machine]
    libraries = {variant: TARGET / f"libequinet_cpu-{variant}.so" for variant in flags}
    stamp, stamp_file = _stamp(compiler, flags), TARGET / ".built"
    up_to_date = stamp_file.is_file() and stamp_file.read_text() == stamp
    if up_to_date and all(path.is_file() for path in libraries.values()):
        return list(libraries.values())

    TARGET.mkdir(exist_ok=True)
    sources = sorted(SOURCES.glob("*.cpp"), key=lambda path: -path.stat().st_size)
    with tempfile.TemporaryDirectory(dir=TARGET) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = {variant: [Path(folder) / f"{variant}-{source.stem}.o" for source in sources] for variant in flags}
        commands = [
            [compiler, *FLAGS, *flags[variant], "-c", str(source), "-o", str(target)]
            for number, source in enumerate(sources)
            for variant in flags
            for target in [objects[variant][number]]
        ]
        list(pool.map(_run, commands))
        for variant, path in libraries.items():
            linked = Path(folder) / path.name
            _run([compiler, "-shared", "-o", str(linked), *map(str, objects[variant]), "-pthread"])
            os.replace(linked, path)  # never half-written, also where a running process has the old one open
    stamp_file.write_text(stamp)
    return list(libraries.values())


if __name__ == "__main__":
    try:
        print("\n".join(str(path) for path in build()))
    except BuildError as error:
        sys.exit(f"error: {error}")
