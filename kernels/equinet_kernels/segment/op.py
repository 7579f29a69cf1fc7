"""Sums over segments that lie side by side, such as the edges of each receiver or the atoms of each structure."""

import torch
from torch import Tensor

from equinet_kernels.dispatch import choose, record
from equinet_kernels.operator import Operator
from equinet_kernels.segment import registration, scatter  # noqa: F401 (defines torch.ops.equinet.segment_sum)
from equinet_kernels.segment.reference import segment_gather_reference, segment_sum_reference


def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
    """Sum the rows of each segment: ``out[s] = sum of values[e] over row_ptr[s] <= e < row_ptr[s + 1]``.

    Rows that belong together lie side by side, and are added in one order: the same bits on every run, on any device,
    except by the reference on a GPU. For rows in any order there is :func:`.reference.index_sum`.

    Args:
        values: [E, ...].
        row_ptr: [S + 1] int64, ascending from 0 to E.

    Returns:
        [S, ...].

    Raises:
        ValueError: dtypes, shapes or devices that do not fit; row_ptr not ascending from 0 to E (on a GPU while
            debugging only).
    """
    implementation = choose("segment_sum", values.device.type)[0]
    if implementation == "torch_scatter":
        return scatter.segment_sum(values, row_ptr)
    if implementation != "reference":
        sums: Tensor = torch.ops.equinet.segment_sum(values, row_ptr)
        return sums
    record("segment_sum", "reference")
    return segment_sum_reference(values, row_ptr)


def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """Give every row of a segment the segment's values: ``out[e] = values[s]``. The transpose of :func:`segment_sum`.

    Args:
        values: [S, ...].
        row_ptr: [S + 1] int64, ascending from 0 to E.
        rows: E.

    Returns:
        [E, ...].

    Raises:
        ValueError: as in :func:`segment_sum`.
    """
    implementation = choose("segment_gather", values.device.type)[0]
    if implementation == "torch_scatter":
        return scatter.segment_gather(values, row_ptr, rows)
    if implementation != "reference":
        out: Tensor = torch.ops.equinet.segment_gather(values, row_ptr, rows)
        return out
    record("segment_gather", "reference")
    return segment_gather_reference(values, row_ptr, rows)


class SegmentSum(Operator):
    """:func:`segment_sum` as a module."""

    operator = "segment_sum"

    def forward(self, values: Tensor, row_ptr: Tensor) -> Tensor:
        """values [E, ...], row_ptr [S + 1] -> [S, ...]."""
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.segment_sum(values, row_ptr)
                return scripted
            return segment_sum_reference(values, row_ptr)
        return segment_sum(values, row_ptr)


class SegmentGather(Operator):
    """:func:`segment_gather` as a module."""

    operator = "segment_gather"

    def forward(self, values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
        """values [S, ...], row_ptr [S + 1] -> [rows, ...]."""
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.segment_gather(values, row_ptr, rows)
                return scripted
            return segment_gather_reference(values, row_ptr, rows)
        return segment_gather(values, row_ptr, rows)
