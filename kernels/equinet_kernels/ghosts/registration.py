"""Rows of ghosts as operators of torch, ``torch.ops.equinet.ghost_rows`` and ``ghost_rows_backward``, its transpose.

    ghost_rows(rows [N, C], ghosts G) -> [N + G, C]     the rows, then those of the ghosts, which their owners have
    ghost_rows_backward(g [N + G, C], G) -> [N, C]      ghosts give what they got back to their owners

Where the owners are is the business of the process that hosts the model. A simulation program with several processes
lets its own communication fetch the rows (``csrc/torch/ghosts.h``); within Python they are rows of the same tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.checks import check_numbers
from equinet_kernels.dispatch import record

_owners: ContextVar[Tensor | None] = ContextVar("owners", default=None)


@contextmanager
def ghosts_of(owners: Tensor) -> Iterator[None]:
    """Say, for a block, which row each ghost's are a copy of.

    Args:
        owners: [G] int64, below N.
    """
    token = _owners.set(owners)
    try:
        yield
    finally:
        _owners.reset(token)


def _owners_of(ghosts: int) -> Tensor:
    owners = _owners.get()
    if owners is None or owners.shape[0] != ghosts:
        known = "none is known" if owners is None else f"{owners.shape[0]} are known"
        raise ValueError(f"ghost_rows: the owners of {ghosts} ghosts are needed, {known}")
    return owners


def _check(operator: str, ghosts: int, least: int, **named: Tensor) -> None:
    check_numbers(operator, **named)
    for rows in named.values():
        if rows.dim() != 2 or rows.shape[0] < least or ghosts < 0:
            raise ValueError(f"{operator}: no {ghosts} ghosts for rows {list(rows.shape)}")


def _forward(rows: Tensor, ghosts: int) -> Tensor:
    _check("ghost_rows", ghosts, 0, rows=rows)
    record("ghost_rows", "torch")
    return torch.cat([rows, rows.index_select(0, _owners_of(ghosts))]) if ghosts else rows.clone()


def _backward(g: Tensor, ghosts: int) -> Tensor:
    _check("ghost_rows_backward", ghosts, ghosts, g=g)
    record("ghost_rows_backward", "torch")
    own = g[: g.shape[0] - ghosts].clone()
    return own.index_add_(0, _owners_of(ghosts), g[g.shape[0] - ghosts :]) if ghosts else own


def _forward_shapes(rows: Tensor, ghosts: int) -> Tensor:
    return rows.new_empty([rows.shape[0] + ghosts, rows.shape[1]])


def _backward_shapes(g: Tensor, ghosts: int) -> Tensor:
    return g.new_empty([g.shape[0] - ghosts, g.shape[1]])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.ghosts = inputs[1]


def _differentiate_forward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return torch.ops.equinet.ghost_rows_backward(g, ctx.ghosts), None


def _differentiate_backward(ctx: Any, gg: Tensor) -> tuple[Any, ...]:
    return torch.ops.equinet.ghost_rows(gg, ctx.ghosts), None


library.register("ghost_rows", _forward_shapes, _differentiate_forward, _save, cpu=_forward)
library.register("ghost_rows_backward", _backward_shapes, _differentiate_backward, _save, cpu=_backward)
