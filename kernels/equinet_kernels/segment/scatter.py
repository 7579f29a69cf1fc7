"""Segment sums by torch-scatter (Fey and Lenssen): chosen by name, never by default.

Its functions have first derivatives alone: a second one would silently be zero. Here each of the two is the derivative
of the other, and there are derivatives of every order.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels.dispatch import record
from equinet_kernels.segment.registration import check


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, row_ptr: Tensor) -> Tensor:
        import torch_scatter  # late: an extra

        record("segment_sum", "torch_scatter")
        ctx.save_for_backward(row_ptr)
        ctx.rows = values.shape[0]
        sums: Tensor = torch_scatter.segment_csr(values, row_ptr, reduce="sum")
        return sums

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (row_ptr,) = ctx.saved_tensors
        return segment_gather(g, row_ptr, ctx.rows), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
        import torch_scatter

        record("segment_gather", "torch_scatter")
        ctx.save_for_backward(row_ptr)
        out: Tensor = torch_scatter.gather_csr(values, row_ptr, values.new_empty([rows, *values.shape[1:]]))
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (row_ptr,) = ctx.saved_tensors
        return segment_sum(g, row_ptr), None, None


def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
    """values [E, ...], row_ptr [S + 1] -> [S, ...]."""
    check("segment_sum", values, row_ptr, False, values.shape[0] if values.dim() else 0)
    sums: Tensor = _Sum.apply(values, row_ptr)
    return sums


def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """values [S, ...], row_ptr [S + 1] -> [rows, ...]."""
    check("segment_gather", values, row_ptr, True, rows)
    out: Tensor = _Gather.apply(values, row_ptr, rows)
    return out
