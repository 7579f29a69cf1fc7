"""Sums over segments as operators of torch: ``torch.ops.equinet.segment_sum``, and ``segment_gather``, its transpose.

Both are linear, and each is the derivative of the other: there are derivatives of every order.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.checks import check_indices, check_numbers, check_shape
from equinet_kernels.dispatch import debugging, record
from equinet_kernels.segment import cpu


def check(operator: str, values: Tensor, row_ptr: Tensor, segments_first: bool, rows: int) -> None:
    """Check what kernels rely on, as far as it costs nothing; all of it while debugging.

    Args:
        operator: whose arguments they are.
        values: rows, or one for each segment.
        row_ptr: of the segments.
        segments_first: which of the two.
        rows: how many rows there are.

    Raises:
        ValueError: dtypes, shapes or devices that do not fit.
    """
    check_numbers(operator, values=values)
    check_indices(operator, values.device, row_ptr=row_ptr)
    check_shape(operator, "row_ptr", row_ptr, (-1,))
    if row_ptr.shape[0] == 0:
        raise ValueError(f"{operator}: row_ptr must hold one number more than there are segments, got none")
    if values.dim() == 0:
        raise ValueError(f"{operator}: values must be rows, got a single number")
    if segments_first and values.shape[0] != row_ptr.shape[0] - 1:
        raise ValueError(f"{operator}: {values.shape[0]} rows of values for {row_ptr.shape[0] - 1} segments")
    if debugging():
        first, last = int(row_ptr[0]), int(row_ptr[-1])
        if first != 0 or last != rows or bool((row_ptr[1:] < row_ptr[:-1]).any()):
            raise ValueError(f"{operator}: row_ptr must ascend from 0 to {rows}, the number of rows")


def _kernels(implementation: str) -> Any:
    if implementation == "cpu":
        return cpu
    from equinet_kernels.segment import triton

    return triton


def _sum_on(implementation: str) -> Any:
    def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
        check("segment_sum", values, row_ptr, False, values.shape[0] if values.dim() else 0)
        record("segment_sum", implementation)
        sums: Tensor = _kernels(implementation).segment_sum(values.contiguous(), row_ptr.contiguous())
        return sums

    return segment_sum


def _gather_on(implementation: str) -> Any:
    def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
        check("segment_gather", values, row_ptr, True, rows)
        record("segment_gather", implementation)
        out: Tensor = _kernels(implementation).segment_gather(values.contiguous(), row_ptr.contiguous(), rows)
        return out

    return segment_gather


def _sum_shapes(values: Tensor, row_ptr: Tensor) -> Tensor:
    return values.new_empty([row_ptr.shape[0] - 1, *values.shape[1:]])


def _gather_shapes(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    return values.new_empty([rows, *values.shape[1:]])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.rows = inputs[0].shape[0]


def _differentiate_sum(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return torch.ops.equinet.segment_gather(g, *ctx.saved_tensors, ctx.rows), None


def _differentiate_gather(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return torch.ops.equinet.segment_sum(g, *ctx.saved_tensors), None, None


library.register("segment_sum", _sum_shapes, _differentiate_sum, _save, cpu=_sum_on("cpu"), cuda=_sum_on("triton"))
library.register(
    "segment_gather", _gather_shapes, _differentiate_gather, _save, cpu=_gather_on("cpu"), cuda=_gather_on("triton")
)
