"""Runs the convolution's kernels on a GPU: allocates, launches, adds up parts.

The launches go through ``torch.library.wrap_triton``, so that a function can be traced into a graph that torch compiles
or exports. Under Triton's interpreter (TRITON_INTERPRET=1) the same kernels run on a CPU, thousands of times slower.

Shapes, dtypes and devices are the caller's to check: a kernel reads where it is told to.
"""

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from equinet_kernels.conv.triton.cache import kernel_module
from equinet_kernels.conv.triton.plan import THREADS, Level
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology


def forward(x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec) -> Tensor:
    """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p] -> [N, dim out]."""
    kernels = kernel_module(spec, Level.FORWARD, x.dtype)
    out = x.new_empty(x.shape[0], spec.out.dim)
    inputs = _dense(x, y, w, topology.senders, topology.row_ptr)
    _launch(kernels.uvu_forward, (x.shape[0], kernels.TILES), *inputs, out)
    return out


def backward(
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <g, forward(x, y, w)> by x, y and w, given g [N, dim out]."""
    kernels = kernel_module(spec, Level.BACKWARD, x.dtype)
    dx, dy = _edge_parts(y, spec, kernels)
    dw = w.new_empty(w.shape)
    inputs = _dense(g, x, y, w, topology.senders, topology.row_ptr)
    _launch(kernels.uvu_backward, (x.shape[0], kernels.TILES), *inputs, dx, dy, dw)
    return _sum_over_senders(dx, x, topology, kernels), _sum_over_tiles(dy), dw


def double_backward(
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of <g, f(x_dot, y, w) + f(x, y_dot, w) + f(x, y, w_dot)> by g, x, y and w, f being forward.

    x_dot, y_dot and w_dot, of the shapes of x, y and w, are the cotangents of what :func:`backward` returns.
    """
    kernels = kernel_module(spec, Level.DOUBLE_BACKWARD, x.dtype)
    gx, gy = _edge_parts(y, spec, kernels)
    gg, gw = g.new_empty(g.shape), w.new_empty(w.shape)
    inputs = _dense(x_dot, y_dot, w_dot, g, x, y, w, topology.senders, topology.row_ptr)
    _launch(kernels.uvu_double_backward, (x.shape[0], kernels.TILES), *inputs, gg, gx, gy, gw)
    return gg, _sum_over_senders(gx, x, topology, kernels), _sum_over_tiles(gy), gw


def _edge_parts(y: Tensor, spec: ConvSpec, kernels: ModuleType) -> tuple[Tensor, Tensor]:
    """Room for what programs write of the gradients by x and y: [E, edge width] and [E, tiles, dim y]."""
    edges = y.shape[0]
    return y.new_empty(edges, kernels.EDGE_WIDTH), y.new_empty(edges, kernels.TILES, spec.y_dim)


def _sum_over_senders(edge_rows: Tensor, x: Tensor, topology: EdgeTopology, kernels: ModuleType) -> Tensor:
    """[E, edge width] -> [N, dim x]."""
    rows = x.new_empty(x.shape)
    order = _dense(topology.sender_ptr, topology.sender_perm)
    _launch(kernels.uvu_sum_over_senders, (x.shape[0], kernels.SUM_TILES), edge_rows, *order, rows)
    return rows


def _sum_over_tiles(parts: Tensor) -> Tensor:
    """[E, tiles, dim y] -> [E, dim y], without atomics either."""
    return parts.sum(dim=1)


def _dense(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _launch(kernel: Any, grid: tuple[int, int], *tensors: Tensor) -> None:
    """Start the programs. None at all, of a graph without nodes, is Triton's to skip: a test of the number here would
    tie a traced graph to it."""
    from triton.runtime.jit import JITFunction

    if isinstance(kernel, JITFunction):
        with _on_device_of(tensors[0]):
            torch.library.wrap_triton(kernel)[grid](*tensors, num_warps=THREADS // 32)
    else:  # the interpreter's
        kernel[grid](*tensors)


def _on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, whichever its tensors are on."""
    if tensor.device.type == "cpu" or not torch.accelerator.is_available():  # or traced without a device
        return nullcontext()
    return torch.accelerator.device_index(tensor.device.index)
