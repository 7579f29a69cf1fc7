"""Sums over segments in plain torch."""

import torch
from torch import Tensor


def index_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows by an index in any order: ``out[s] = sum of values[e] over index[e] == s``.

    On a CPU the order of summation is the order of the rows: the same bits on every run. On a GPU torch adds by
    atomics, and the last bits vary.

    Args:
        values: [E, ...].
        index: [E] int64.
        size: S.

    Returns:
        [S, ...].
    """
    out = values.new_zeros([size] + list(values.shape[1:]))
    return out.index_add(0, index, values)


def segments_of_rows(row_ptr: Tensor, rows: int) -> Tensor:
    """The segment that each row belongs to, [rows] int64."""
    return torch.repeat_interleave(row_ptr[1:] - row_ptr[:-1], output_size=rows)


def segment_sum_reference(values: Tensor, row_ptr: Tensor) -> Tensor:
    """``out[s] = sum of values[e] over row_ptr[s] <= e < row_ptr[s + 1]``.

    Args:
        values: [E, ...].
        row_ptr: [S + 1] int64, from 0 to E.

    Returns:
        [S, ...].
    """
    return index_sum(values, segments_of_rows(row_ptr, values.shape[0]), row_ptr.shape[0] - 1)


def segment_gather_reference(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """The transpose: ``out[e] = values[s]`` for the segment s with ``row_ptr[s] <= e < row_ptr[s + 1]``.

    Args:
        values: [S, ...].
        row_ptr: [S + 1] int64, from 0 to E.
        rows: E.

    Returns:
        [E, ...].
    """
    return values.index_select(0, segments_of_rows(row_ptr, rows))
