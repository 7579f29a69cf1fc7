"""From a function of the distance to the table of its spline."""

from collections.abc import Callable

import torch
from torch import Tensor

from equinet_kernels.spline.reference import hermite_table

STEP_ASIDE = 1e-9
"""Of the unit of length. What a function is from one side of a place is evaluated so far from it."""


def tabulate(function: Callable[[Tensor], Tensor], intervals: int, spacing: float, kink: int = 0) -> Tensor:
    """Make the quintic spline through a function's values, slopes and curvatures.

    In the first interval, which begins at 0, it goes on as the parabola that fits at its end: nothing that is divided
    by the distance is evaluated at 0. At the end of the last interval it is what the function is from below.

    Args:
        function: lengths [K] float64 -> [K, C]; row k depends on length k alone, twice differentiable but at the kink.
        intervals: their number.
        spacing: length of an interval.
        kink: number of the interval that begins where the curvature may jump; 0: there is no such place.

    Returns:
        [intervals, 6, C] float64, for :func:`radial_spline`.
    """

    def at(lengths: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = lengths.detach().requires_grad_()
            value = function(leaf)
            slope = _rate(value, leaf)
            return torch.stack([value, slope, _rate(slope, leaf)], dim=1).detach()

    def seen_from(step: float, length: Tensor) -> Tensor:
        value, slope, curvature = at(length + step).unbind(1)
        return torch.stack([value - step * slope, slope - step * curvature, curvature], dim=1)

    h = spacing
    knots = torch.arange(1, intervals + 1, dtype=torch.float64) * h
    inner = at(knots[:-1])  # [intervals - 1, 3, C]
    value, slope, curvature = inner[:1].unbind(1)
    first = torch.stack([value - h * slope + h**2 / 2 * curvature, slope - h * curvature, curvature], dim=1)
    starts, ends = torch.cat([first, inner]), torch.cat([inner, seen_from(-STEP_ASIDE, knots[-1:])])
    if kink:
        place = knots[kink - 1 : kink]
        starts[kink], ends[kink - 1] = seen_from(STEP_ASIDE, place)[0], seen_from(-STEP_ASIDE, place)[0]
    return hermite_table(starts, ends, h)


def _rate(values: Tensor, lengths: Tensor) -> Tensor:
    """d values / d lengths, [K, C]: row k depends on length k alone.

    Twice backwards: the gradient of <dual, values> by the lengths is linear in the dual, and what the dual is
    multiplied with is wanted (forward differentiation lacks the second derivative of silu).
    """
    dual = torch.ones_like(values).requires_grad_()
    (gradient,) = torch.autograd.grad(values, lengths, dual, create_graph=True)
    return torch.autograd.grad(gradient.sum(), dual, create_graph=True)[0]
