"""Edge vectors as operators of torch: ``torch.ops.equinet.edge_vectors``, and ``edge_vectors_backward``, its transpose.

Edge vectors are linear in positions and cell, so that each operator is the derivative of the other: there are
derivatives of every order.
"""

from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.checks import check_indices, check_numbers, check_shape
from equinet_kernels.dispatch import debugging, record
from equinet_kernels.geometry import cpu
from equinet_kernels.topology import EdgeTopology, check_topology


def _check_graph(operator: str, numbers: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology) -> None:
    check_indices(operator, numbers.device, batch=batch, images=images, **topology._asdict())
    check_shape(operator, "batch", batch, (-1,))
    atoms, edges = batch.shape[0], images.shape[0]
    check_shape(operator, "images", images, (-1, 3))
    for name in ("senders", "receivers", "sender_perm"):
        check_shape(operator, name, getattr(topology, name), (edges,))
    for name in ("row_ptr", "sender_ptr"):
        check_shape(operator, name, getattr(topology, name), (atoms + 1,))
    if debugging():
        check_topology(topology, atoms)


def _check_structures(operator: str, batch: Tensor, structures: int) -> None:
    """Look at the values; on a GPU that costs a synchronisation."""
    if batch.shape[0] and (bool((batch.diff() < 0).any()) or int(batch[0]) < 0 or int(batch[-1]) >= structures):
        raise ValueError(f"{operator}: batch must ascend within 0..{structures - 1}")


def _dense(arguments: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, EdgeTopology]:
    """What every list of arguments ends with: batch, images, topology."""
    batch, images, *topology = (tensor.contiguous() for tensor in arguments)
    return batch, images, EdgeTopology(*topology)


def _kernels(implementation: str) -> Any:
    if implementation == "cpu":
        return cpu
    from equinet_kernels.geometry import triton

    return triton


def _forward_on(implementation: str) -> Any:
    def forward(positions: Tensor, cell: Tensor, *rest: Tensor) -> Tensor:
        graph = _dense(rest)
        check_numbers("edge_vectors", positions=positions, cell=cell)
        _check_graph("edge_vectors", positions, *graph)
        check_shape("edge_vectors", "positions", positions, (graph[0].shape[0], 3))
        check_shape("edge_vectors", "cell", cell, (-1, 3, 3))
        if debugging():
            _check_structures("edge_vectors", graph[0], cell.shape[0])
        record("edge_vectors", implementation)
        vectors: Tensor = _kernels(implementation).forward(positions.contiguous(), cell.contiguous(), *graph)
        return vectors

    return forward


def _backward_on(implementation: str) -> Any:
    def backward(g: Tensor, structures: int, *rest: Tensor) -> tuple[Tensor, Tensor]:
        graph = _dense(rest)
        check_numbers("edge_vectors_backward", g=g)
        _check_graph("edge_vectors_backward", g, *graph)
        check_shape("edge_vectors_backward", "g", g, (graph[1].shape[0], 3))
        if debugging():
            _check_structures("edge_vectors_backward", graph[0], structures)
        record("edge_vectors_backward", implementation)
        gradients: tuple[Tensor, Tensor] = _kernels(implementation).backward(g.contiguous(), structures, *graph)
        return gradients

    return backward


def _forward_shapes(positions: Tensor, cell: Tensor, *rest: Tensor) -> Tensor:
    return positions.new_empty(rest[1].shape[0], 3)


def _backward_shapes(g: Tensor, structures: int, *rest: Tensor) -> tuple[Tensor, Tensor]:
    return g.new_empty(rest[0].shape[0], 3), g.new_empty(structures, 3, 3)


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[2:])
    ctx.structures = inputs[1].shape[0]


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[2:])


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    gradients = torch.ops.equinet.edge_vectors_backward(g, ctx.structures, *ctx.saved_tensors)
    return (*gradients, *[None] * len(ctx.saved_tensors))


def _differentiate_backward(ctx: Any, d_positions: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
    gg = torch.ops.equinet.edge_vectors(d_positions, d_cell, *ctx.saved_tensors)
    return (gg, *[None] * (len(ctx.saved_tensors) + 1))


library.register(
    "edge_vectors", _forward_shapes, _differentiate_forward, _save_forward,
    cpu=_forward_on("cpu"), cuda=_forward_on("triton"),
)  # fmt: skip
library.register(
    "edge_vectors_backward", _backward_shapes, _differentiate_backward, _save_backward,
    cpu=_backward_on("cpu"), cuda=_backward_on("triton"),
)  # fmt: skip
