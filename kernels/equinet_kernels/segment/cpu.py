"""Segment sums by the compiled library (``csrc/cpu``), and their transpose."""

from math import prod

from torch import Tensor

from equinet_kernels import native


def _sizes(values: Tensor, row_ptr: Tensor, rows: int) -> tuple[object, ...]:
    sizes = row_ptr.shape[0] - 1, rows, prod(values.shape[1:])
    return values.dtype, *map(native.Rows, sizes), row_ptr


def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
    """values [E, ...], row_ptr [S + 1] -> [S, ...]. All contiguous, on the CPU."""
    out = values.new_empty([row_ptr.shape[0] - 1, *values.shape[1:]])
    native.call("segment_sum", *_sizes(values, row_ptr, values.shape[0]), values, out)
    return out


def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """values [S, ...], row_ptr [S + 1] -> [rows, ...]. All contiguous, on the CPU."""
    out = values.new_empty([rows, *values.shape[1:]])
    native.call("segment_gather", *_sizes(values, row_ptr, rows), values, out)
    return out
