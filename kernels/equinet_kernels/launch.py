"""Starts hand-written Triton kernels.

Launches go through ``torch.library.wrap_triton``, so that a function can be traced into a graph that torch compiles or
exports. Under Triton's interpreter (TRITON_INTERPRET=1) the same kernels run on a CPU, thousands of times slower.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from triton.runtime.jit import JITFunction


def launch(kernel: Any, grid: tuple[int, ...], tensors: tuple[Tensor, ...], *sizes: int, **constants: Any) -> None:
    """Start the programs of a kernel; a grid of none starts nothing.

    Args:
        kernel: from ``triton.jit``.
        grid: programs along each axis.
        tensors: contiguous, on one device, which is where the kernel runs; first among its arguments.
        sizes: numbers that follow them.
        constants: of its compilation; ``num_warps`` among them.
    """
    if isinstance(kernel, JITFunction):
        with _on_device_of(tensors[0]):
            torch.library.wrap_triton(kernel)[grid](*tensors, *sizes, **constants)
    else:  # the interpreter's
        kernel[grid](*tensors, *sizes, **constants)


def blocks(number: int, size: int) -> int:
    """How many blocks of a size hold a number of things. ``-(-number // size)`` in words."""
    return (number + size - 1) // size


def _on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, whichever its tensors are on."""
    if tensor.device.type == "cpu" or not torch.accelerator.is_available():  # or traced without a device
        return nullcontext()
    return torch.accelerator.device_index(tensor.device.index)
