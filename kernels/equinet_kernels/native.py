"""The compiled CPU operators: which shared library fits this processor, and how its functions are called.

The libraries have a plain C interface (``csrc/cpu/api.h``) and know nothing of torch: one binary serves every version
of it. There is one for each instruction set; the best that this processor has is loaded when the package is imported.
"""

import ctypes
import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ABI_VERSION = 2
FOLDER = Path(__file__).parent / "lib"

_BY_CAPABILITY = {"AVX512": ["x86_64_v4", "x86_64_v3", "x86_64_v2"], "AVX2": ["x86_64_v3", "x86_64_v2"]}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def variants() -> list[str]:
    """Instruction sets that this processor has, best first; ``EQUINET_CPU_VARIANT`` names one instead."""
    if chosen := os.environ.get("EQUINET_CPU_VARIANT"):
        return [chosen]
    machine = _MACHINES.get(platform.machine().lower(), "")
    if machine == "x86_64":
        return _BY_CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), ["x86_64_v2"])
    return ["aarch64_neon"] if machine == "aarch64" else []


def library_path(variant: str) -> Path:
    """Where the library for an instruction set is, or would be."""
    return FOLDER / f"libequinet_cpu-{variant}.so"


def _load() -> tuple[ctypes.CDLL | None, str, str]:
    """The library, its instruction set, and a sentence on why it was chosen, or why there is none."""
    wanted = variants()
    for variant in wanted:
        path = library_path(variant)
        if not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            return None, "", f"{path.name} does not load: {error}"
        if library.equinet_abi_version() != ABI_VERSION:
            return None, "", f"{path.name} is of another version of this package; install the package again"
        library.equinet_last_error.restype = ctypes.c_char_p
        library.equinet_set_parallel_region.argtypes = [ctypes.c_void_p]
        library.equinet_set_parallel_region.restype = None
        region = _openmp_region()
        library.equinet_set_parallel_region(region)
        threads = "torch's threads" if region else "threads of its own"
        return library, variant, f"compiled for {variant}, on {threads}"
    names = " or ".join(wanted) or platform.machine()
    return (
        None,
        "",
        (
            f"no compiled library for {names} in {FOLDER}: there was no C++ compiler when the package was installed; "
            "install one (g++ or clang++) and the package again"
        ),
    )


def _openmp_region() -> int | None:
    """Address of the OpenMP runtime's entry, of the runtime that torch computes with.

    Sharing it means sharing its threads: none are started, and no two pools fight for the cores.
    """
    if not torch.backends.openmp.is_available():
        return None
    folder = Path(torch.__file__).parent / "lib"
    bundled = [str(path) for pattern in ("libgomp*", "libiomp5*", "libomp*") for path in sorted(folder.glob(pattern))]
    for name in (*bundled, None):  # torch has loaded it: this opens no second copy
        try:
            function = ctypes.CDLL(name).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None


LIBRARY, VARIANT, REASON = _load()
"""The loaded library or None, its instruction set, and why it is this one or none."""

_DTYPES = {torch.float32: 0, torch.float64: 1}
Rows = ctypes.c_int64
"""For numbers of rows among the arguments of :func:`call`: C's int64_t."""


def call(function: str, *arguments: Any) -> None:
    """Call one of the library's functions.

    Args:
        function: its name without ``equinet_``.
        arguments: tensors (contiguous, on the CPU) go as pointers, dtypes as their codes, strings as bytes.

    Raises:
        ValueError: the function refused its arguments.
    """
    assert LIBRARY is not None
    converted = [_converted(argument) for argument in arguments]
    if getattr(LIBRARY, f"equinet_{function}")(*converted, torch.get_num_threads()):
        raise ValueError(f"{function}: {LIBRARY.equinet_last_error().decode()}")


def _converted(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous(), "kernels read dense rows"
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, torch.dtype):
        return _DTYPES[argument]
    if isinstance(argument, str):
        return argument.encode()
    return argument
