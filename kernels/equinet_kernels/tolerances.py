"""How near two results must be to count as equal: the one table for the tests of every implementation."""

import torch
from torch import Tensor

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest :func:`relative_error` allowed, by the dtype of the result under test."""


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest deviation in units of the largest value: ``max|a - b| / max|b|``, computed in float64.

    Elementwise relative errors would punish values that cancel to nothing; an absolute bound would pass small tensors
    that are all wrong.

    Args:
        a: result under test.
        b: what it should be, of the same shape.

    Returns:
        0 where both are empty or zero, infinity where b is zero and a is not, NaN (below no tolerance) where either
        holds a NaN.

    Raises:
        ValueError: the shapes differ; broadcasting would hide a wrong one.
    """
    if a.shape != b.shape:
        raise ValueError(f"results have different shapes: {tuple(a.shape)} and {tuple(b.shape)}")
    if a.numel() == 0:
        return 0.0
    exact = b.detach().double()
    difference = float((a.detach().double() - exact).abs().max())
    scale = float(exact.abs().max())
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf") if difference == difference else difference
    return difference / scale
