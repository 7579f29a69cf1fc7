"""Calls of operators by torch alone, in a program that imports no equinet.

    python without_equinet.py libequinet_ops.so calls.pt results.pt

The tests call :func:`run` too, in their own process with equinet, and compare.
"""

import os
import sys
from typing import Any

import torch
from torch import Tensor


def run(name: str, arguments: list[Any]) -> dict[str, Any]:
    """Results of an operator, shapes of its results for tensors without data, and gradients by its arguments.

    Returns:
        ``results``, ``shapes``, ``gradients``; ``error``, the type and first line of an exception that came before.
    """
    operator = getattr(torch.ops.equinet, name)
    found: dict[str, Any] = {}
    try:
        leaves = [_leaf(argument) for argument in arguments]
        out = operator(*leaves)
        results = out if isinstance(out, tuple) else (out,)
        found["results"] = [result.detach() for result in results]
        without_data = [a.to("meta") if isinstance(a, Tensor) else a for a in arguments]
        out = operator(*without_data)
        found["shapes"] = [(list(t.shape), t.dtype) for t in (out if isinstance(out, tuple) else (out,))]
        inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        # different for every element, the same in every process
        cotangents = [torch.linspace(-1, 1, t.numel(), dtype=t.dtype).reshape(t.shape) for t in results]
        found["gradients"] = torch.autograd.grad(results, inputs, cotangents, allow_unused=True)
    except Exception as error:
        found["error"] = (type(error).__name__, str(error).splitlines()[0])
    return found


def _leaf(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.is_floating_point():
        return argument.detach().requires_grad_()
    return argument


def missing_libraries(arguments: list[Any]) -> list[str]:
    """What is said where the CPU library is missing or is none."""
    said = []
    for variable, value in (
        ("EQUINET_CPU_VARIANT", "no_such_variant"),
        ("EQUINET_CPU_LIBRARY", "/no/such/library.so"),
        ("EQUINET_CPU_LIBRARY", sys.argv[1]),
    ):
        os.environ[variable] = value
        said.append(run("uvu_conv", arguments)["error"][1])
        del os.environ[variable]
    return said


def threads_kept(arguments: list[Any]) -> int:
    """How many threads more there are in this process after a call on three."""
    torch.set_num_threads(3)
    before = len(os.listdir("/proc/self/task"))
    torch.ops.equinet.uvu_conv(*arguments)
    kept = len(os.listdir("/proc/self/task")) - before
    torch.set_num_threads(1)  # as in the tests: the bits of torch's own matrix products depend on it
    return kept


if __name__ == "__main__":
    library, calls_file, results_file = sys.argv[1:]
    torch.ops.load_library(library)
    given = torch.load(calls_file)
    calls = given["calls"]
    answer = {
        "missing": missing_libraries(given["large"]),
        "threads": threads_kept(given["large"]),
        "calls": [run(name, arguments) for name, arguments in calls],
        "kernels": {
            name: [
                key
                for key in ("CPU", "CUDA", "Meta", "Autograd")
                if torch._C._dispatch_has_kernel_for_dispatch_key(f"equinet::{name}", key)
            ]
            for name in {name for name, _ in calls}
        },
        "modules": [name for name in sys.modules if name.startswith("equinet")],
    }
    torch.save(answer, results_file)
