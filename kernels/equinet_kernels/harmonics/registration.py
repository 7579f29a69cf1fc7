"""The harmonics as operators of torch, ``torch.ops.equinet.spherical_harmonics`` and its two derivatives.

    y = Y(v)
    spherical_harmonics_backward(g, v)               gradient of <g, Y(v)> by v
    spherical_harmonics_double_backward(d', g, v)    gradients of <d', backward(g, v)> by g and v

Each is differentiated by the next; training on forces needs the third, and nothing needs a fourth.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.checks import check_numbers, check_shape
from equinet_kernels.dispatch import record
from equinet_kernels.harmonics import cpu
from equinet_kernels.spec import MAX_L


def _check(operator: str, l_max: int, directions: Tensor, g: Tensor | None = None, d_dot: Tensor | None = None) -> None:
    if not 0 <= l_max <= MAX_L:
        raise ValueError(f"{operator}: l_max must be 0..{MAX_L}, got {l_max}")
    tensors = {"directions": directions}
    check_shape(operator, "directions", directions, (-1, 3))
    edges = directions.shape[0]
    if g is not None:
        check_shape(operator, "g", g, (edges, (l_max + 1) ** 2))
        tensors["g"] = g
    if d_dot is not None:
        check_shape(operator, "d_dot", d_dot, (edges, 3))
        tensors["d_dot"] = d_dot
    check_numbers(operator, **tensors)


def _kernels(implementation: str) -> Any:
    if implementation == "cpu":
        return cpu
    from equinet_kernels.harmonics import triton

    return triton


def _forward_on(implementation: str) -> Any:
    def forward(directions: Tensor, l_max: int) -> Tensor:
        _check("spherical_harmonics", l_max, directions)
        record("spherical_harmonics", implementation)
        y: Tensor = _kernels(implementation).forward(directions.contiguous(), l_max)
        return y

    return forward


def _backward_on(implementation: str) -> Any:
    def backward(g: Tensor, directions: Tensor, l_max: int) -> Tensor:
        _check("spherical_harmonics_backward", l_max, directions, g)
        record("spherical_harmonics_backward", implementation)
        d: Tensor = _kernels(implementation).backward(g.contiguous(), directions.contiguous(), l_max)
        return d

    return backward


def _double_backward_on(implementation: str) -> Any:
    def double_backward(d_dot: Tensor, g: Tensor, directions: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
        _check("spherical_harmonics_double_backward", l_max, directions, g, d_dot)
        record("spherical_harmonics_double_backward", implementation)
        tensors = d_dot.contiguous(), g.contiguous(), directions.contiguous()
        gradients: tuple[Tensor, Tensor] = _kernels(implementation).double_backward(*tensors, l_max)
        return gradients

    return double_backward


def _forward_shapes(directions: Tensor, l_max: int) -> Tensor:
    return directions.new_empty(directions.shape[0], (l_max + 1) ** 2)


def _backward_shapes(g: Tensor, directions: Tensor, l_max: int) -> Tensor:
    return directions.new_empty(directions.shape)


def _double_backward_shapes(d_dot: Tensor, g: Tensor, directions: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    return g.new_empty(g.shape), directions.new_empty(directions.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.l_max = inputs[-1]


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return torch.ops.equinet.spherical_harmonics_backward(g, *ctx.saved_tensors, ctx.l_max), None


def _differentiate_backward(ctx: Any, d_dot: Tensor) -> tuple[Any, ...]:
    return *torch.ops.equinet.spherical_harmonics_double_backward(d_dot, *ctx.saved_tensors, ctx.l_max), None


def _refuse_third_derivative(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    raise NotImplementedError(
        "spherical_harmonics has derivatives of first and second order; for a third (a gradient of a Hessian) run the "
        'reference: with equinet_kernels.use("reference")'
    )


library.register(
    "spherical_harmonics", _forward_shapes, _differentiate_forward, _save,
    cpu=_forward_on("cpu"), cuda=_forward_on("triton"),
)  # fmt: skip
library.register(
    "spherical_harmonics_backward", _backward_shapes, _differentiate_backward, _save,
    cpu=_backward_on("cpu"), cuda=_backward_on("triton"),
)  # fmt: skip
library.register(
    "spherical_harmonics_double_backward", _double_backward_shapes, _refuse_third_derivative,
    cpu=_double_backward_on("cpu"), cuda=_double_backward_on("triton"),
)  # fmt: skip
