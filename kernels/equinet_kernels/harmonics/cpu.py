"""The harmonics by the compiled library (``csrc/cpu``): forward, backward, double backward."""

from torch import Tensor

from equinet_kernels import native


def forward(directions: Tensor, l_max: int) -> Tensor:
    """directions [E, 3] -> [E, (l_max + 1)^2]. All contiguous, on the CPU."""
    edges = directions.shape[0]
    y = directions.new_empty(edges, (l_max + 1) ** 2)
    native.call("spherical_harmonics", l_max, directions.dtype, native.Rows(edges), directions, y)
    return y


def backward(g: Tensor, directions: Tensor, l_max: int) -> Tensor:
    """Gradient of the directions, given g, that of the result."""
    d = directions.new_empty(directions.shape)
    rows = native.Rows(directions.shape[0])
    native.call("spherical_harmonics_backward", l_max, g.dtype, rows, g, directions, d)
    return d


def double_backward(d_dot: Tensor, g: Tensor, directions: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """Gradients of g and of the directions, given d_dot, that of the result of :func:`backward`."""
    gg, gd = g.new_empty(g.shape), directions.new_empty(directions.shape)
    rows = native.Rows(directions.shape[0])
    native.call("spherical_harmonics_double_backward", l_max, g.dtype, rows, d_dot, g, directions, gg, gd)
    return gg, gd
