"""A function's result with its first and second derivatives, by one set of random cotangents."""

from collections.abc import Callable

import torch
from torch import Tensor


def normal(*size: int, seed: int = 0) -> Tensor:
    """Random numbers in float64, the same every time."""
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def all_levels(function: Callable[..., Tensor], *inputs: Tensor, cotangent: Tensor | None = None) -> dict[str, Tensor]:
    """Differentiate twice.

    Args:
        function: of the inputs.
        inputs: taken as they are laid out in memory.
        cotangent: g, of the result; random if not given.

    Returns:
        The result, ``d0``, ``d1``, ... the gradients of <g, result> by the inputs, and ``dd0``, ..., ``ddg`` those of
        <d', d> by the inputs and by g; zeros where there is no dependence.
    """
    inputs = tuple(tensor.detach().requires_grad_() for tensor in inputs)
    result = function(*inputs)
    result = result + 0.0 * inputs[0].sum().to(result.device)  # a constant too shall have derivatives
    random = normal(*result.shape, seed=1) if cotangent is None else cotangent
    g = random.to(result).requires_grad_()
    first = torch.autograd.grad(result, inputs, g, create_graph=True)
    first = tuple(d + 0.0 * g.sum() for d in first)
    dots = [normal(*d.shape, seed=2 + n).to(d) for n, d in enumerate(first)]
    second = torch.autograd.grad(first, (*inputs, g), dots, allow_unused=True, materialize_grads=True)
    names = [f"d{n}" for n in range(len(inputs))]
    levels = [result, *first, *second]
    return dict(zip(["result", *names, *("d" + name for name in names), "ddg"], levels, strict=True))
