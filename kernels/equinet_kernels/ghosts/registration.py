"""Rows of ghosts as operators of torch, ``torch.ops.equinet.ghost_rows`` and ``ghost_rows_backward``, its transpose.

    ghost_rows(rows [N, C], ghosts G) -> [N + G, C]     the rows, then those of the ghosts, which their owners have
    ghost_rows_backward(g [N + G, C], G) -> [N, C]      ghosts give what they got back to their owners

Where the owners are is the business of the process that hosts the model. A simulation program with several processes
lets its own communication fetch the rows (``csrc/torch/ghosts_host.h``), also where Python runs in its process; within
Python they are rows of the same tensor.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import library
from equinet_kernels.checks import check_numbers
from equinet_kernels.dispatch import record

_owners: ContextVar[Tensor | None] = ContextVar("owners", default=None)
_HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *4 * [ctypes.c_int64])  # GhostHost::Function


class _Host:
    """The program that hosts this process and knows the owners, if any; set by ``equinet_set_ghost_host``."""

    def __init__(self) -> None:
        self.context = 0
        self.fetch: Callable[..., None] | None = None
        self.give_back: Callable[..., None] | None = None

    def set(self, context: int, fetch: int, give_back: int) -> None:
        self.context = context
        self.fetch = _HostFunction(fetch) if fetch else None
        self.give_back = _HostFunction(give_back) if give_back else None

    def call(self, function: Callable[..., None], rows: Tensor, ghosts: int) -> None:
        """Let a function change rows [N + G, C] in place."""
        owned = rows.shape[0] - ghosts
        function(self.context, rows.data_ptr(), rows.element_size(), owned, ghosts, rows.shape[1])


_host = _Host()
library.register_plain("set_ghost_host", _host.set)


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
    if _host.fetch is not None and _owners.get() is None:  # also without ghosts: others may wait for what we own
        record("ghost_rows", "host")
        out = torch.cat([rows, rows.new_empty([ghosts, rows.shape[1]])])
        _host.call(_host.fetch, out, ghosts)
        return out
    record("ghost_rows", "torch")
    return torch.cat([rows, rows.index_select(0, _owners_of(ghosts))]) if ghosts else rows.clone()


def _backward(g: Tensor, ghosts: int) -> Tensor:
    _check("ghost_rows_backward", ghosts, ghosts, g=g)
    if _host.give_back is not None and _owners.get() is None:
        record("ghost_rows_backward", "host")
        out = g.clone(memory_format=torch.contiguous_format)
        _host.call(_host.give_back, out, ghosts)
        return out[: g.shape[0] - ghosts].clone()
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
