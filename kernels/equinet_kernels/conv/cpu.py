"""The convolution by the compiled library (``csrc/cpu``): forward, backward, double backward.

Each also for some receivers alone, so that what belongs to edges need not exist for all of them at once.
"""

from typing import NamedTuple

from torch import Tensor

from equinet_kernels import native
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology


class Receivers(NamedTuple):
    """Nodes first..last-1."""

    first: int
    last: int


def _graph(x: Tensor, topology: EdgeTopology, receivers: Receivers | None) -> tuple[object, ...]:
    nodes, edges = x.shape[0], topology.senders.shape[0]
    first, last = receivers or (0, nodes)
    numbers = (native.Rows(number) for number in (nodes, edges, first, last))
    return x.dtype, *numbers, topology.senders, topology.receivers, topology.row_ptr


def forward(x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec) -> Tensor:
    """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p] -> [N, dim out]. All contiguous, on the CPU."""
    out = x.new_empty(x.shape[0], spec.out.dim)
    forward_of(None, x, y, w, topology, spec, out)
    return out


def forward_of(
    receivers: Receivers | None, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec, out: Tensor
) -> None:
    """Write these receivers' rows of ``out`` [N, dim out]; y and w are rows of their edges alone."""
    native.call("uvu_conv", str(spec), *_graph(x, topology, receivers), x, y, w, out)


def backward(
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, y and w, given g, that of the result."""
    dx = x.new_zeros(x.shape)
    return dx, *backward_of(None, g, x, y, w, topology, spec, dx)


def backward_of(
    receivers: Receivers | None,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec, dx: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of these edges' y and w; what goes to x is added to ``dx`` [N, dim x]."""
    dy, dw = y.new_empty(y.shape), w.new_empty(w.shape)
    native.call("uvu_conv_backward", str(spec), *_graph(x, topology, receivers), g, x, y, w, dx, dy, dw)
    return dy, dw


def double_backward(
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of g, x, y and w, given x_dot, y_dot and w_dot, those of the results of :func:`backward`."""
    gg, gx, gy, gw = g.new_empty(g.shape), x.new_zeros(x.shape), y.new_empty(y.shape), w.new_empty(w.shape)
    inputs = (x_dot, y_dot, w_dot, g, x, y, w)
    native.call("uvu_conv_double_backward", str(spec), *_graph(x, topology, None), *inputs, gg, gx, gy, gw, None)
    return gg, gx, gy, gw


def double_backward_of(
    receivers: Receivers,
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec, gg: Tensor, gx: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of these edges' y, w and w_dot; these receivers' rows of ``gg`` are written, ``gx`` is added to."""
    gy, gw, gw_dot = y.new_empty(y.shape), w.new_empty(w.shape), w.new_empty(w.shape)
    inputs = (x_dot, y_dot, w_dot, g, x, y, w)
    graph = _graph(x, topology, receivers)
    native.call("uvu_conv_double_backward", str(spec), *graph, *inputs, gg, gx, gy, gw, gw_dot)
    return gy, gw, gw_dot
