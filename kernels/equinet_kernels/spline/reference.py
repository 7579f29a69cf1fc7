"""Quintic splines in plain torch: tables of functions of the distance."""

import torch
from torch import Tensor

REMAINDER = ((10.0, -4.0, 0.5), (-15.0, 7.0, -1.0), (6.0, -3.0, 0.5))
"""Coefficients of t^3, t^4, t^5 from what the parabola at the interval's start misses at its end: in value, slope and
curvature."""


def hermite_table(starts: Tensor, ends: Tensor, spacing: float) -> Tensor:
    """Make the polynomials of degree 5 that have given values, slopes and curvatures at both ends of their intervals.

    Where the end of an interval is the start of the next, the spline is twice continuously differentiable; they may
    differ where the function's curvature jumps. Kept as polynomials and not as knots: in float32 the difference of two
    rounded knots, divided by the spacing, would spoil the slope.

    Args:
        starts: [K, 3, C], value, first and second derivative at the start of each interval; float64.
        ends: [K, 3, C], at its end.
        spacing: length of an interval.

    Returns:
        [K, 6, C], the table of :func:`spline_reference`.
    """
    units = torch.tensor([1.0, spacing, spacing**2], dtype=starts.dtype).view(1, 3, 1)  # derivatives by t
    (v0, s0, c0), (v1, s1, c1) = (starts * units).unbind(1), (ends * units).unbind(1)
    missed = torch.stack([v1 - v0 - s0 - c0 / 2, s1 - s0 - c0, c1 - c0], dim=1)  # [K, 3, C]
    rest = torch.einsum("nm,kmc->knc", torch.tensor(REMAINDER, dtype=starts.dtype), missed)
    return torch.cat([torch.stack([v0, s0, c0 / 2], dim=1), rest], dim=1)


def spline_reference(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    """A derivative of piecewise polynomials on equal intervals.

    Args:
        lengths: [E] float64; interval k goes from ``k * spacing`` to ``(k + 1) * spacing``. Beyond the last everything
            is 0, below 0 the first polynomial goes on.
        table: [K, 6, C], coefficients of 1, t, .., t^5, with t = 0..1 within an interval.
        spacing: length of an interval.
        derivative: 0..3.

    Returns:
        [E, C] in the dtype of the table.
    """
    intervals = table.shape[0]
    position = lengths / spacing
    interval = position.detach().floor().to(torch.int64).clamp(0, intervals - 1)  # [E]; of NaN some interval
    t = position - interval
    powers = torch.arange(6, dtype=t.dtype, device=t.device)
    factors = torch.full_like(powers, spacing**-derivative)
    for n in range(derivative):
        factors = factors * (powers - n)
    monomials = t.unsqueeze(1) ** (powers - derivative).clamp(min=0) * factors  # [E, 6]
    monomials = torch.where((position < intervals).unsqueeze(1), monomials, torch.zeros_like(monomials))
    return torch.bmm(monomials.to(table.dtype).unsqueeze(1), table.index_select(0, interval)).squeeze(1)
