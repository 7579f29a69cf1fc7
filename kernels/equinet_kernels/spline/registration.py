"""The spline as an operator of torch, ``torch.ops.equinet.radial_spline``; its derivative is itself, one order up."""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.dispatch import record
from equinet_kernels.spline import cpu
from equinet_kernels.spline.reference import spline_reference

HIGHEST = 3


def check(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> None:
    """Check what kernels rely on.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit; a spacing or a derivative out of range.
    """
    if lengths.dim() != 1 or lengths.dtype != torch.float64:
        raise ValueError(f"radial_spline: lengths must be float64 [E], got {lengths.dtype} {list(lengths.shape)}")
    if table.dim() != 3 or table.shape[1] != 6 or table.shape[0] < 1:
        raise ValueError(
            f"radial_spline: the table must be [K, 6, C] with an interval or more, got {list(table.shape)}"
        )
    if table.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"radial_spline: the table is {table.dtype}; it must be float32 or float64")
    if table.device != lengths.device:
        raise ValueError(f"radial_spline: the table is on {table.device}, lengths are on {lengths.device}")
    if not spacing > 0.0 or not 0 <= derivative <= HIGHEST:
        raise ValueError(f"radial_spline: spacing {spacing} must be positive, derivative {derivative} 0..{HIGHEST}")


def _on_cpu(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    check(lengths, table, spacing, derivative)
    record("radial_spline", "cpu")
    return cpu.spline(lengths.contiguous(), table.contiguous(), spacing, derivative)


def _on_cuda(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    check(lengths, table, spacing, derivative)
    record("radial_spline", "reference")
    return spline_reference(lengths, table, spacing, derivative)


def _shape(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    return table.new_empty(lengths.shape[0], table.shape[2])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.spacing, ctx.derivative = inputs[2:]


def _differentiate(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    """By the lengths alone: a table is made, not trained."""
    lengths, table = ctx.saved_tensors
    if ctx.derivative == HIGHEST:
        raise NotImplementedError(f"radial_spline has derivatives up to order {HIGHEST}")
    slope = torch.ops.equinet.radial_spline(lengths, table, ctx.spacing, ctx.derivative + 1)
    return (g * slope).sum(dim=1).to(lengths.dtype), None, None, None


library.register("radial_spline", _shape, _differentiate, _save, cpu=_on_cpu, cuda=_on_cuda)
