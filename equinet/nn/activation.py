"""Activations scaled so that unit-variance input gives unit second moment."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn


@cache
def second_moment(function: str) -> float:
    """E[f(z)^2] for z ~ N(0, 1), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(128)
    z = torch.from_numpy(nodes)
    values = torch.nn.functional.silu(z) if function == "silu" else torch.tanh(z)
    return float((values.numpy() ** 2 * weights).sum() / weights.sum())


class NormalizedActivation(nn.Module):
    """``silu`` for even scalars, ``tanh`` (an odd function) for odd ones, scaled to unit second moment.

    Args:
        function: "silu" or "tanh".

    Raises:
        ValueError: another name.
    """

    def __init__(self, function: str) -> None:
        super().__init__()
        if function not in ("silu", "tanh"):
            raise ValueError(f"activation must be silu or tanh, got {function!r}")
        self.odd = function == "tanh"
        self.factor = second_moment(function) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        activated = torch.tanh(x) if self.odd else torch.nn.functional.silu(x)
        return activated * self.factor
