"""Quintic splines by the compiled library (``csrc/cpu/spline.cpp``)."""

import ctypes

from torch import Tensor

from equinet_kernels import native


def spline(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    """lengths [E] float64, table [K, 6, C] -> [E, C]. All contiguous, on the CPU."""
    intervals, _, columns = table.shape
    out = table.new_empty(lengths.shape[0], columns)
    sizes = (native.Rows(size) for size in (lengths.shape[0], columns, intervals))
    native.call("radial_spline", table.dtype, *sizes, ctypes.c_double(spacing), derivative, lengths, table, out)
    return out
