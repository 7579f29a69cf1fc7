"""Rows of ghosts in a process that runs Python and is hosted by another program."""

import ctypes
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from equinet_kernels import observe
from equinet_kernels.ghosts import ghosts_of

OWNERS = torch.tensor([2, 0, 2, 1])
OWNED = 3
Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *4 * [ctypes.c_int64])


def rows_at(address: int, columns: int) -> Tensor:
    """The host's view of the rows it is given, [N + G, columns]."""
    count = (OWNED + len(OWNERS)) * columns
    return torch.frombuffer((ctypes.c_double * count).from_address(address), dtype=torch.float64).reshape(-1, columns)


@Function
def fetch(context: int, address: int, width: int, owned: int, ghosts: int, columns: int) -> None:
    assert (context, width, owned, ghosts) == (7, 8, OWNED, len(OWNERS))
    rows = rows_at(address, columns)
    rows[owned:] = rows[OWNERS]


@Function
def give_back(context: int, address: int, width: int, owned: int, ghosts: int, columns: int) -> None:
    assert (context, width, owned, ghosts) == (7, 8, OWNED, len(OWNERS))
    rows = rows_at(address, columns)
    rows.index_add_(0, OWNERS, rows[owned:].clone())


@pytest.fixture
def host() -> Iterator[None]:
    """As ``equinet_set_ghost_host`` of libequinet_ops sets it."""
    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in (fetch, give_back)]
    torch.ops.equinet.set_ghost_host(7, *addresses)
    yield
    torch.ops.equinet.set_ghost_host(0, 0, 0)


def answers() -> tuple[Tensor, Tensor, Tensor]:
    """Rows with ghosts; their gradient; the gradient of that."""
    rows = torch.arange(6.0, dtype=torch.float64).reshape(OWNED, 2).sin().requires_grad_()
    g = torch.arange(14.0, dtype=torch.float64).reshape(-1, 2).cos().requires_grad_()
    out = torch.ops.equinet.ghost_rows(rows, len(OWNERS))
    (first,) = torch.autograd.grad(out, rows, g, create_graph=True)
    (second,) = torch.autograd.grad((first * rows).sum(), g)
    return out.detach(), first.detach(), second


def test_the_host_answers_where_python_knows_no_owners(host: None) -> None:
    with observe() as counts:
        found = answers()
    assert counts == {("ghost_rows", "host"): 2, ("ghost_rows_backward", "host"): 1}
    with ghosts_of(OWNERS), observe() as counts:  # what Python knows comes first
        expected = answers()
    assert counts == {("ghost_rows", "torch"): 2, ("ghost_rows_backward", "torch"): 1}
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_without_a_host_owners_are_needed() -> None:
    with pytest.raises(ValueError, match="the owners of 4 ghosts are needed, none is known"):
        answers()
