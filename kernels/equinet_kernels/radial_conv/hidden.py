"""The convolution with weights from a hidden vector, ``W = h weight``, for training: three levels.

    F = <g, f(x', y, W) + f(x, y', W) + f(x, y, W')>,  W = h V,  W' = h' V + h V'
    dF/dh = (dF/dW) V^T + (dF/dW') V'^T,  dF/dV = h^T (dF/dW) + h'^T (dF/dW')

W is made for a block of receivers at a time in each level: nothing of size ``[E, sum_p C_p]`` exists, for one more
product ``h V`` in each.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.conv import cpu
from equinet_kernels.conv.registration import TOPOLOGY, check, dense, take_apart
from equinet_kernels.dispatch import record
from equinet_kernels.radial_conv.blocks import receiver_blocks
from equinet_kernels.spec import ConvSpec


def _check_hidden(spec: ConvSpec, x: Tensor, y: Tensor, h: Tensor, weight: Tensor) -> None:
    """Raises:
    ValueError: h and weight do not fit the spec or each other.
    """
    if h.dim() != 2 or h.shape[0] != y.shape[0] or weight.shape != (h.shape[-1], spec.weight_dim):
        raise ValueError(
            f"radial_uvu_conv: h must be [{y.shape[0]}, H] and weight [H, {spec.weight_dim}], "
            f"got {list(h.shape)} and {list(weight.shape)}"
        )
    for name, tensor in (("h", h), ("weight", weight)):
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(f"radial_uvu_conv: {name} is {tensor.dtype} on {tensor.device}, x {x.dtype} on {x.device}")


def _forward(x: Tensor, y: Tensor, h: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    topology, spec = take_apart(rest)
    check(spec, topology, {"x": x}, {"y": y}, None)
    _check_hidden(spec, x, y, h, weight)
    record("radial_uvu_conv", "cpu")
    x, y, h, weight = dense(x, y, h, weight)
    out = x.new_empty(x.shape[0], spec.out.dim)
    for receivers, edges in receiver_blocks(topology.row_ptr):
        cpu.forward_of(receivers, x, y[edges], h[edges] @ weight, topology, spec, out)
    return out


def _backward(g: Tensor, x: Tensor, y: Tensor, h: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    topology, spec = take_apart(rest)
    check(spec, topology, {"x": x}, {"y": y}, g)
    _check_hidden(spec, x, y, h, weight)
    record("radial_uvu_conv_backward", "cpu")
    g, x, y, h, weight = dense(g, x, y, h, weight)
    dx, dy, dh, dweight = x.new_zeros(x.shape), torch.empty_like(y), torch.empty_like(h), torch.zeros_like(weight)
    for receivers, edges in receiver_blocks(topology.row_ptr):
        w = h[edges] @ weight
        dy[edges], dw = cpu.backward_of(receivers, g, x, y[edges], w, topology, spec, dx)
        torch.mm(dw, weight.T, out=dh[edges])
        dweight.addmm_(h[edges].T, dw)
    return dx, dy, dh, dweight


def _double_backward(
    x_dot: Tensor, y_dot: Tensor, h_dot: Tensor, weight_dot: Tensor | None,
    g: Tensor, x: Tensor, y: Tensor, h: Tensor, weight: Tensor, *rest: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    topology, spec = take_apart(rest)
    check(spec, topology, {"x": x, "x_dot": x_dot}, {"y": y, "y_dot": y_dot}, g)
    _check_hidden(spec, x, y, h, weight)
    _check_hidden(spec, x, y, h_dot, weight if weight_dot is None else weight_dot)
    record("radial_uvu_conv_double_backward", "cpu")
    x_dot, y_dot, h_dot, g, x, y, h, weight = dense(x_dot, y_dot, h_dot, g, x, y, h, weight)
    gg, gx, gy, gh = torch.empty_like(g), torch.zeros_like(x), torch.empty_like(y), torch.empty_like(h)
    gweight = torch.zeros_like(weight)
    for receivers, edges in receiver_blocks(topology.row_ptr):
        w, w_dot = h[edges] @ weight, h_dot[edges] @ weight
        if weight_dot is not None:
            w_dot.addmm_(h[edges], weight_dot)
        gy[edges], gw, gw_dot = cpu.double_backward_of(
            receivers, x_dot, y_dot[edges], w_dot, g, x, y[edges], w, topology, spec, gg, gx
        )
        torch.mm(gw, weight.T, out=gh[edges])
        if weight_dot is not None:
            gh[edges].addmm_(gw_dot, weight_dot.T)
        gweight.addmm_(h[edges].T, gw).addmm_(h_dot[edges].T, gw_dot)
    return gg, gx, gy, gh, gweight


def _forward_shapes(x: Tensor, y: Tensor, h: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], take_apart(rest)[1].out.dim)


def _backward_shapes(g: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs[:4])


def _double_backward_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs[4:9])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.spec = inputs[-1]
    ctx.set_materialize_grads(False)


def _differentiate_forward(ctx: Any, g: Tensor | None) -> tuple[Any, ...]:
    if g is None:
        return (None,) * (TOPOLOGY + 5)
    gradients = torch.ops.equinet.radial_uvu_conv_backward(g, *ctx.saved_tensors, ctx.spec)
    return (*gradients, *[None] * (TOPOLOGY + 1))


def _differentiate_backward(
    ctx: Any, x_dot: Tensor | None, y_dot: Tensor | None, h_dot: Tensor | None, weight_dot: Tensor | None
) -> tuple[Any, ...]:
    _, x, y, h, *_ = ctx.saved_tensors
    dots = [
        torch.zeros_like(tensor) if dot is None else dot
        for dot, tensor in zip((x_dot, y_dot, h_dot), (x, y, h), strict=True)
    ]
    gradients = torch.ops.equinet.radial_uvu_conv_double_backward(*dots, weight_dot, *ctx.saved_tensors, ctx.spec)
    return (*gradients, *[None] * (TOPOLOGY + 1))


def _refuse_third_derivative(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    raise NotImplementedError(
        "radial_uvu_conv has derivatives of first and second order; for a third run the reference: "
        'with equinet_kernels.use("reference")'
    )


library.register("radial_uvu_conv", _forward_shapes, _differentiate_forward, _save, cpu=_forward)
library.register("radial_uvu_conv_backward", _backward_shapes, _differentiate_backward, _save, cpu=_backward)
library.register(
    "radial_uvu_conv_double_backward", _double_backward_shapes, _refuse_third_derivative, cpu=_double_backward
)
