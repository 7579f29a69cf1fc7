"""The CUDA convolution compiled for the tests: for the CPU, through the emulation, and for a GPU, by nvcc.

Both are kept in pytest's cache, for each state of the sources, and made by whichever process of a test run comes first.
"""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
sys.path.insert(0, str(KERNELS))
import cuda_build  # noqa: E402
import native_build  # noqa: E402

EMULATION = cuda_build.FOLDER / "emulation"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", f"-I{EMULATION}"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
"""Where fortified, longjmp takes a coroutine's stack for a mistake."""


def compile_emulated(sources: list[Path], library: Path) -> None:
    """Compile CUDA sources for the CPU."""
    compiler = native_build.find_compiler()
    files = [*sources, EMULATION / "emulation.cpp"]
    objects = [library.with_name(f"{path.stem}.o") for path in files]

    def compile_one(source: Path, made: Path) -> None:
        subprocess.run([compiler, "-x", "c++", *FLAGS, "-c", str(source), "-o", str(made)], check=True)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compile_one, files, objects))
    linked = library.with_suffix(".new")
    subprocess.run([compiler, "-shared", "-o", str(linked), *map(str, objects), "-pthread"], check=True)
    linked.rename(library)


def _once(config: pytest.Config, name: str, key: str, make: Callable[[Path], object]) -> Path:
    """The file that ``make`` makes, from the cache if it is there."""
    folder = config.cache.mkdir("equinet_cuda")
    made = folder / sha256(key.encode()).hexdigest()[:16] / name
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.parent.mkdir(exist_ok=True)
            make(made)
    return made


def emulated_library(config: pytest.Config) -> Path:
    """The library for the CPU."""
    files = [*cuda_build.FOLDER.rglob("*.*"), *cuda_build.SHARED_SOURCES, *cuda_build.SHARED_HEADERS, Path(__file__)]
    key = "".join(path.name + path.read_text() for path in sorted(files))
    return _once(config, "libemulated.so", key, lambda made: compile_emulated(cuda_build.sources(), made))


def real_library(config: pytest.Config) -> tuple[Path, list[cuda_build.Usage]]:
    """The library for GPUs, and what ptxas said about its kernels. Skips the test where there is no nvcc."""
    try:
        key = cuda_build.stamp()
    except native_build.BuildError as error:
        pytest.skip(str(error))

    def make(report: Path) -> None:
        usages = cuda_build.compile_library(report.with_suffix(".so"))
        report.write_text("\n".join("\t".join(map(str, usage)) for usage in usages))

    report = _once(config, "libequinet_cuda.txt", key, make)
    rows = [line.split("\t") for line in report.read_text().splitlines()]
    usages = [cuda_build.Usage(kernel, architecture, *map(int, rest)) for kernel, architecture, *rest in rows]
    return report.with_suffix(".so"), usages
