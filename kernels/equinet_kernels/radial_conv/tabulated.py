"""The convolution from edge vectors and a table of weights, for inference: forward and first derivatives.

It takes and saves features, edge vectors and a table (``spline``); harmonics and weights are made for a block of
receivers at a time, forwards and again backwards. Memory beyond the inputs and results is that of one block.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.conv import cpu
from equinet_kernels.conv.registration import TOPOLOGY, check, dense, take_apart
from equinet_kernels.dispatch import record
from equinet_kernels.harmonics import cpu as harmonics
from equinet_kernels.radial_conv.blocks import receiver_blocks
from equinet_kernels.spec import ConvSpec
from equinet_kernels.spline import cpu as spline_cpu
from equinet_kernels.spline.registration import check as check_table
from equinet_kernels.topology import EdgeTopology


def _prepare(
    x: Tensor, vectors: Tensor, table: Tensor, spacing: float, rest: tuple[Any, ...], g: Tensor | None
) -> tuple[EdgeTopology, ConvSpec]:
    """Take the arguments apart and check them.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
    """
    topology, spec = take_apart(rest)
    check(spec, topology, {"x": x}, {}, g)
    if vectors.shape != (topology.senders.shape[0], 3) or vectors.dtype != torch.float64:
        raise ValueError(
            f"tabulated_uvu_conv: vectors must be float64 [{topology.senders.shape[0]}, 3], "
            f"got {vectors.dtype} {list(vectors.shape)}"
        )
    check_table(vectors[:, 0], table, spacing, 0)
    if table.shape[2] != spec.weight_dim or table.dtype != x.dtype:
        raise ValueError(
            f"tabulated_uvu_conv: the table must be {x.dtype} [K, 3, {spec.weight_dim}], "
            f"got {table.dtype} {list(table.shape)}"
        )
    return topology, spec


def _forward(x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> Tensor:
    topology, spec = _prepare(x, vectors, table, spacing, rest, None)
    record("tabulated_uvu_conv", "cpu")
    x, vectors, table = dense(x, vectors, table)
    out = x.new_empty(x.shape[0], spec.out.dim)
    for receivers, edges in receiver_blocks(topology.row_ptr):
        lengths = torch.linalg.vector_norm(vectors[edges], dim=1)
        y = harmonics.forward(vectors[edges] / lengths.unsqueeze(1), spec.l_max).to(x.dtype)
        cpu.forward_of(receivers, x, y, spline_cpu.spline(lengths, table, spacing, 0), topology, spec, out)
    return out


def _backward(g: Tensor, x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> tuple[Tensor, ...]:
    topology, spec = _prepare(x, vectors, table, spacing, rest, g)
    record("tabulated_uvu_conv_backward", "cpu")
    g, x, vectors, table = dense(g, x, vectors, table)
    dx, dvectors = torch.zeros_like(x), torch.empty_like(vectors)
    for receivers, edges in receiver_blocks(topology.row_ptr):
        lengths = torch.linalg.vector_norm(vectors[edges], dim=1)  # [e]
        directions = vectors[edges] / lengths.unsqueeze(1)
        y, w = harmonics.forward(directions, spec.l_max).to(x.dtype), spline_cpu.spline(lengths, table, spacing, 0)
        dy, dw = cpu.backward_of(receivers, g, x, y, w, topology, spec, dx)
        slope = spline_cpu.spline(lengths, table, spacing, 1)
        dlengths = (dw * slope).sum(dim=1, dtype=torch.float64)  # [e]
        along = harmonics.backward(dy.double(), directions, spec.l_max)  # [e, 3]
        across = along - directions * (along * directions).sum(dim=1, keepdim=True)
        dvectors[edges] = across / lengths.unsqueeze(1) + directions * dlengths.unsqueeze(1)
    return dx, dvectors


def _forward_shapes(x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], take_apart(rest)[1].out.dim)


def _backward_shapes(g: Tensor, x: Tensor, vectors: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return x.new_empty(x.shape), vectors.new_empty(vectors.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, vectors, table, ctx.spacing, *topology, ctx.spec = inputs
    ctx.save_for_backward(x, vectors, table, *topology)


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, vectors, table, *topology = ctx.saved_tensors
    dx, dvectors = torch.ops.equinet.tabulated_uvu_conv_backward(g, x, vectors, table, ctx.spacing, *topology, ctx.spec)
    return (dx, dvectors, *[None] * (TOPOLOGY + 3))


def _refuse_second_derivative(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    raise NotImplementedError(
        "tabulated_uvu_conv is for inference and has first derivatives; for second ones (Hessians) use radial_spline "
        'and uvu_conv, or run the reference: with equinet_kernels.use("reference")'
    )


library.register("tabulated_uvu_conv", _forward_shapes, _differentiate_forward, _save, cpu=_forward)
library.register("tabulated_uvu_conv_backward", _backward_shapes, _refuse_second_derivative, cpu=_backward)
