"""Compiles the CUDA operators, with nvcc, into one library for all GPUs from the A100 on.

    python kernels/cuda_build.py       build in place, into kernels/equinet_kernels/lib

It prints the registers and spills of every kernel. Needs no GPU, no torch and nothing else outside the standard
library. CUDACXX names the compiler.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import native_build
from native_build import BuildError

FOLDER = native_build.HERE / "csrc" / "cuda"
SHARED_SOURCES = [native_build.SOURCES / name for name in ("conv_plan.cpp", "coupling.cpp")]
"""What a specification means, and the coupling constants: one source for both libraries."""
SHARED_HEADERS = [native_build.SOURCES / name for name in ("conv_plan.h", "coupling.h")]
LIBRARY = native_build.TARGET / "libequinet_cuda.so"

# Machine code for A100 and H100 or H200, which the other GPUs of 8.x and 9.x run too, and PTX for what comes after. All
# from one pass of the compiler, for nothing here is particular to one of them. The CUDA runtime is linked in: torch
# brings its own, of any version, and the two share the device's context.
FLAGS = ["-std=c++17", "-O3", "-gencode", "arch=compute_80,code=[sm_80,sm_90,compute_80]", "-cudart", "static"]
FLAGS += ["-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unknown-pragmas", "-Xptxas", "-v"]
LINK_FLAGS = ["-shared", "-Xlinker", "--exclude-libs=ALL"]


class Usage(NamedTuple):
    """What ptxas says about a kernel."""

    kernel: str  # with its template arguments: "forward<float, 3, 16, 4>"
    architecture: str
    registers: int
    stack: int  # bytes of local memory of a thread
    spills: int  # bytes stored and loaded for want of registers


def sources() -> list[Path]:
    """What is compiled, the longest first."""
    files = [*FOLDER.glob("*.cu"), *FOLDER.glob("*.cpp"), *SHARED_SOURCES]
    return sorted(files, key=lambda path: -path.stat().st_size)


def find_compiler() -> str:
    """The CUDA compiler: CUDACXX, nvcc in PATH, in CUDA_HOME, or where it is usually installed.

    Raises:
        BuildError: there is none.
    """
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    for name in filter(None, (os.environ.get("CUDACXX"), "nvcc", *(f"{home}/bin/nvcc" for home in homes if home))):
        if path := shutil.which(name):
            return path
    raise BuildError("there is no CUDA compiler (nvcc, or the one that CUDACXX names)")


def _run(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{(result.stdout + result.stderr)[-2000:]}")
    return result.stdout + result.stderr


def resource_usage(report: str) -> list[Usage]:
    """Read what ``ptxas -v`` prints."""
    kernel = re.compile(
        r"Compiling entry function '(\S+)' for '(\w+)'.*?"
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
        re.DOTALL,
    )
    found = []
    for symbol, architecture, stack, stores, loads, registers in kernel.findall(report):
        name = re.search(r"\d([a-z_]+)I([fd])((?:Li\d+E)*)E", symbol)
        if name is None:
            raise BuildError(f"an unexpected kernel: {symbol}")
        arguments = [{"f": "float", "d": "double"}[name[2]], *re.findall(r"Li(\d+)E", name[3])]
        text = f"{name[1]}<{', '.join(arguments)}>"
        found.append(Usage(text, architecture, int(registers), int(stack), int(stores) + int(loads)))
    return sorted(found)


def compile_library(target: Path) -> list[Usage]:
    """Compile all, two files at a time or as many as there are processors.

    Returns:
        What ptxas says about each kernel and architecture.

    Raises:
        BuildError: no compiler, or an error of it. What was there stays.
    """
    compiler = find_compiler()
    files = sources()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [Path(folder) / f"{source.stem}.o" for source in files]
        commands = [
            [compiler, *FLAGS, "-c", str(source), "-o", str(made)] for source, made in zip(files, objects, strict=True)
        ]
        reports = list(pool.map(_run, commands))
        linked = Path(folder) / target.name
        _run([compiler, *FLAGS, *LINK_FLAGS, "-o", str(linked), *map(str, objects)])
        os.replace(linked, target)  # never half-written, also where a running process has the old one open
    return [usage for report in reports for usage in resource_usage(report)]


def stamp() -> str:
    """Changes with everything that the library depends on."""
    content = hashlib.sha256(repr((find_compiler(), FLAGS, LINK_FLAGS)).encode())
    for path in [*sorted(FOLDER.glob("*.*")), *SHARED_SOURCES, *SHARED_HEADERS]:
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def build() -> list[Usage]:
    """Compile into the package, unless what is there is up to date.

    Returns:
        What ptxas says, or nothing where nothing was compiled.

    Raises:
        BuildError: see :func:`compile_library`.
    """
    wanted, stamp_file = stamp(), LIBRARY.with_name(".built_cuda")
    if LIBRARY.is_file() and stamp_file.is_file() and stamp_file.read_text() == wanted:
        return []
    usages = compile_library(LIBRARY)
    stamp_file.write_text(wanted)
    return usages


if __name__ == "__main__":
    try:
        for usage in build():
            print(f"{usage.architecture} {usage.registers:4} registers, {usage.spills} bytes spilled: {usage.kernel}")
        print(LIBRARY)
    except BuildError as error:
        sys.exit(f"error: {error}")
