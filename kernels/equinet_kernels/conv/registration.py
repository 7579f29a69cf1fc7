"""The convolution as operators of torch, ``torch.ops.equinet.uvu_conv`` and its two derivatives.

    out = f(x, y, w)                         linear in each of the three
    uvu_conv_backward(g, x, y, w)            gradients of <g, f(x, y, w)> by x, y, w
    uvu_conv_double_backward(x', y', w', g, x, y, w)
                                             gradients of <g, f(x', y, w) + f(x, y', w) + f(x, y, w')> by g, x, y, w

Each is differentiated by the next; training on forces needs the third, and nothing needs a fourth.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.conv import cpu
from equinet_kernels.dispatch import debugging, kernels_on_gpu, record
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology, check_topology

TOPOLOGY = len(EdgeTopology._fields)
"""Tensors of a topology among an operator's arguments."""

_parse = lru_cache(maxsize=None)(ConvSpec.parse)


def check(
    spec: ConvSpec, topology: EdgeTopology, nodes: dict[str, Tensor], edges: dict[str, Tensor], out: Tensor | None
) -> None:
    """Check what kernels rely on, as far as it costs nothing.

    Raises:
        ValueError: shapes that do not fit the spec or each other, mixed or unsupported dtypes or devices.
    """
    dims = {"x": spec.x.dim, "y": spec.y_dim, "w": spec.weight_dim}
    x = nodes["x"]
    wanted = {name: (x.shape[0], dims[name[0]]) for name in nodes}
    wanted |= {name: (topology.senders.shape[0], dims[name[0]]) for name in edges}
    tensors = nodes | edges
    if out is not None:
        wanted["g"], tensors = (x.shape[0], spec.out.dim), tensors | {"g": out}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[name]:
            raise ValueError(f"uvu_conv: {name} must be {list(wanted[name])}, got {list(tensor.shape)}")
        if tensor.dtype != x.dtype or tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"uvu_conv: {name} is {tensor.dtype}; all must be float32 or all float64, as x is")
        if tensor.device != x.device:
            raise ValueError(f"uvu_conv: {name} is on {tensor.device}, x on {x.device}")
    rows = {"senders": 0, "receivers": 0, "row_ptr": 1, "sender_perm": 0, "sender_ptr": 1}
    for name, index in topology._asdict().items():
        length = x.shape[0] + 1 if rows[name] else topology.senders.shape[0]
        if index.dtype != torch.int64 or tuple(index.shape) != (length,):
            raise ValueError(f"uvu_conv: {name} must be int64 [{length}], got {index.dtype} {list(index.shape)}")
        if index.device != x.device:
            raise ValueError(f"uvu_conv: {name} is on {index.device}, x on {x.device}")
    if debugging():
        check_topology(topology, x.shape[0])


def dense(*tensors: Tensor) -> list[Tensor]:
    """Rows without gaps, as kernels read them."""
    return [tensor.contiguous() for tensor in tensors]


def take_apart(arguments: tuple[Any, ...]) -> tuple[EdgeTopology, ConvSpec]:
    """The topology and the spec, which end every list of arguments."""
    return EdgeTopology(*dense(*arguments[:TOPOLOGY])), _parse(arguments[TOPOLOGY])


def _kernels(level: str, device: str) -> Any:
    """The module with the kernels for a kind of device; on a GPU there are two to choose from."""
    implementation = kernels_on_gpu("uvu_conv") if device == "cuda" else device
    record(level, implementation)
    if implementation == "cpu":
        return cpu
    if implementation == "cuda":
        from equinet_kernels.conv import cuda

        return cuda
    from equinet_kernels.conv.triton import launch

    return launch


def _forward_on(device: str) -> Any:
    def forward(x: Tensor, y: Tensor, w: Tensor, *rest: Any) -> Tensor:
        topology, spec = take_apart(rest)
        check(spec, topology, {"x": x}, {"y": y, "w": w}, None)
        out: Tensor = _kernels("uvu_conv", device).forward(*dense(x, y, w), topology, spec)
        return out

    return forward


def _backward_on(device: str) -> Any:
    def backward(g: Tensor, x: Tensor, y: Tensor, w: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        topology, spec = take_apart(rest)
        check(spec, topology, {"x": x}, {"y": y, "w": w}, g)
        results: tuple[Tensor, Tensor, Tensor] = _kernels("uvu_conv_backward", device).backward(
            *dense(g, x, y, w), topology, spec
        )
        return results

    return backward


def _double_backward_on(device: str) -> Any:
    def double_backward(
        x_dot: Tensor, y_dot: Tensor, w_dot: Tensor, g: Tensor, x: Tensor, y: Tensor, w: Tensor, *rest: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        topology, spec = take_apart(rest)
        check(spec, topology, {"x": x, "x_dot": x_dot}, {"y": y, "w": w, "y_dot": y_dot, "w_dot": w_dot}, g)
        tensors = dense(x_dot, y_dot, w_dot, g, x, y, w)
        results: tuple[Tensor, Tensor, Tensor, Tensor]
        results = _kernels("uvu_conv_double_backward", device).double_backward(*tensors, topology, spec)
        return results

    return double_backward


def _forward_shapes(x: Tensor, y: Tensor, w: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], _parse(rest[TOPOLOGY]).out.dim)


def _backward_shapes(g: Tensor, x: Tensor, y: Tensor, w: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in (x, y, w))


def _double_backward_shapes(
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor, g: Tensor, x: Tensor, y: Tensor, w: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in (g, x, y, w))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.spec = inputs[-1]


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    gradients = torch.ops.equinet.uvu_conv_backward(g, *ctx.saved_tensors, ctx.spec)
    return (*gradients, *[None] * (TOPOLOGY + 1))


def _differentiate_backward(ctx: Any, x_dot: Tensor, y_dot: Tensor, w_dot: Tensor) -> tuple[Any, ...]:
    gradients = torch.ops.equinet.uvu_conv_double_backward(x_dot, y_dot, w_dot, *ctx.saved_tensors, ctx.spec)
    return (*gradients, *[None] * (TOPOLOGY + 1))


def _refuse_third_derivative(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    raise NotImplementedError(
        "uvu_conv has derivatives of first and second order; for a third (a gradient of a Hessian) run the reference: "
        'with equinet_kernels.use("reference")'
    )


library.register(
    "uvu_conv", _forward_shapes, _differentiate_forward, _save, cpu=_forward_on("cpu"), cuda=_forward_on("cuda")
)
library.register(
    "uvu_conv_backward", _backward_shapes, _differentiate_backward, _save,
    cpu=_backward_on("cpu"), cuda=_backward_on("cuda"),
)  # fmt: skip
library.register(
    "uvu_conv_double_backward", _double_backward_shapes, _refuse_third_derivative,
    cpu=_double_backward_on("cpu"), cuda=_double_backward_on("cuda"),
)  # fmt: skip
