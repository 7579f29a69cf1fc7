"""Segment sums by torch-scatter (Fey and Lenssen), with its own derivatives: chosen by name, never by default."""

from torch import Tensor

from equinet_kernels.dispatch import record


def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
    """values [E, ...], row_ptr [S + 1] -> [S, ...]."""
    import torch_scatter  # late: an extra

    record("segment_sum", "torch_scatter")
    sums: Tensor = torch_scatter.segment_csr(values, row_ptr, reduce="sum")
    return sums


def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """values [S, ...], row_ptr [S + 1] -> [rows, ...]."""
    import torch_scatter

    record("segment_gather", "torch_scatter")
    out: Tensor = torch_scatter.gather_csr(values, row_ptr, values.new_empty([rows, *values.shape[1:]]))
    return out
