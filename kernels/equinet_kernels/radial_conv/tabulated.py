"""The convolution from edge vectors and a table of weights, for inference.

It takes and saves features, edge vectors and a table (``spline``); harmonics and weights are made for a few receivers
at a time, in the caches, forwards and again backwards (``csrc/cpu/tabulated.h``). Memory beyond the inputs and results
does not grow with the graph; second derivatives are those of the operators it is made of, for all edges at once.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library, native
from equinet_kernels.conv.registration import TOPOLOGY, check, dense, take_apart
from equinet_kernels.dispatch import record
from equinet_kernels.spec import ConvSpec
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
            f"tabulated_uvu_conv: the table must be {x.dtype} [K, 6, {spec.weight_dim}], "
            f"got {table.dtype} {list(table.shape)}"
        )
    return topology, spec


def _forward(x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> Tensor:
    topology, spec = _prepare(x, vectors, table, spacing, rest, None)
    record("tabulated_uvu_conv", "cpu")
    x, vectors, table = dense(x, vectors, table)
    out = x.new_empty(x.shape[0], spec.out.dim)
    native.call("tabulated_uvu_conv", *_graph(x, topology, spec), x, vectors, *_table(table, spacing), out)
    return out


def _backward(g: Tensor, x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> tuple[Tensor, ...]:
    topology, spec = _prepare(x, vectors, table, spacing, rest, g)
    record("tabulated_uvu_conv_backward", "cpu")
    g, x, vectors, table = dense(g, x, vectors, table)
    dx, dvectors = torch.zeros_like(x), torch.empty_like(vectors)
    arguments = g, x, vectors, *_table(table, spacing), dx, dvectors
    native.call("tabulated_uvu_conv_backward", *_graph(x, topology, spec), *arguments)
    return dx, dvectors


def _graph(x: Tensor, topology: EdgeTopology, spec: ConvSpec) -> tuple[object, ...]:
    sizes = native.Rows(x.shape[0]), native.Rows(topology.senders.shape[0])
    return str(spec), x.dtype, *sizes, topology.senders, topology.receivers, topology.row_ptr


def _table(table: Tensor, spacing: float) -> tuple[object, ...]:
    return native.Rows(table.shape[0]), ctypes.c_double(spacing), table


def _forward_shapes(x: Tensor, vectors: Tensor, table: Tensor, spacing: float, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], take_apart(rest)[1].out.dim)


def _backward_shapes(g: Tensor, x: Tensor, vectors: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return x.new_empty(x.shape), vectors.new_empty(vectors.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, vectors, table, ctx.spacing, *topology, ctx.spec = inputs
    ctx.save_for_backward(x, vectors, table, *topology)


def _save_with_g(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    g, x, vectors, table, ctx.spacing, *topology, ctx.spec = inputs
    ctx.save_for_backward(g, x, vectors, table, *topology)


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, vectors, table, *topology = ctx.saved_tensors
    dx, dvectors = torch.ops.equinet.tabulated_uvu_conv_backward(g, x, vectors, table, ctx.spacing, *topology, ctx.spec)
    return (dx, dvectors, *[None] * (TOPOLOGY + 3))


def _differentiate_backward(ctx: Any, dx_dot: Tensor, dvectors_dot: Tensor) -> tuple[Any, ...]:
    """Second derivatives, for a Hessian: of the operators that this one is made of, for all edges at once."""
    g, x, vectors, table, *topology = ctx.saved_tensors
    with torch.enable_grad():
        g, x, vectors = (tensor.detach().requires_grad_() for tensor in (g, x, vectors))
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        l_max = ConvSpec.parse(ctx.spec).l_max
        y = torch.ops.equinet.spherical_harmonics(vectors / lengths.unsqueeze(1), l_max).to(x.dtype)
        w = torch.ops.equinet.radial_spline(lengths, table, ctx.spacing, 0)
        out = torch.ops.equinet.uvu_conv(x, y, w, *topology, ctx.spec)
        first = torch.autograd.grad(out, (x, vectors), g, create_graph=True)
        second = torch.autograd.grad(first, (g, x, vectors), (dx_dot, dvectors_dot), allow_unused=True)
    return (*second, *[None] * (TOPOLOGY + 3))


library.register("tabulated_uvu_conv", _forward_shapes, _differentiate_forward, _save, cpu=_forward)
library.register("tabulated_uvu_conv_backward", _backward_shapes, _differentiate_backward, _save_with_g, cpu=_backward)
