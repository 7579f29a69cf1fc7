"""The convolution by the compiled library (``csrc/cpu``): forward, backward, double backward."""

from torch import Tensor

from equinet_kernels import native
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology


def _graph(x: Tensor, topology: EdgeTopology) -> tuple[object, ...]:
    nodes, edges = native.Rows(x.shape[0]), native.Rows(topology.senders.shape[0])
    return x.dtype, nodes, edges, topology.senders, topology.receivers, topology.row_ptr


def forward(x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec) -> Tensor:
    """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p] -> [N, dim out]. All contiguous, on the CPU."""
    out = x.new_empty(x.shape[0], spec.out.dim)
    native.call("uvu_conv", str(spec), *_graph(x, topology), x, y, w, out)
    return out


def backward(
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, y and w, given g, that of the result."""
    dx, dy, dw = x.new_empty(x.shape), y.new_empty(y.shape), w.new_empty(w.shape)
    native.call("uvu_conv_backward", str(spec), *_graph(x, topology), g, x, y, w, dx, dy, dw)
    return dx, dy, dw


def double_backward(
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of g, x, y and w, given x_dot, y_dot and w_dot, those of the results of :func:`backward`."""
    results = g.new_empty(g.shape), x.new_empty(x.shape), y.new_empty(y.shape), w.new_empty(w.shape)
    inputs = (x_dot, y_dot, w_dot, g, x, y, w)
    native.call("uvu_conv_double_backward", str(spec), *_graph(x, topology), *inputs, *results)
    return results
