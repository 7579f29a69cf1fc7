"""Quintic Hermite splines in plain torch: twice continuously differentiable tables of functions of the distance."""

import torch
from torch import Tensor

BASIS = (
    (1.0, 0.0, 0.0, -10.0, 15.0, -6.0),
    (0.0, 1.0, 0.0, -6.0, 8.0, -3.0),
    (0.0, 0.0, 0.5, -1.5, 1.5, -0.5),
    (0.0, 0.0, 0.0, 10.0, -15.0, 6.0),
    (0.0, 0.0, 0.0, -4.0, 7.0, -3.0),
    (0.0, 0.0, 0.0, 0.5, -1.0, 0.5),
)
"""Hermite's basis on [0, 1]: what value, slope and curvature at 0, then at 1, contribute; coefficients of 1..t^5."""


def spline_reference(lengths: Tensor, table: Tensor, spacing: float, derivative: int) -> Tensor:
    """A derivative of the piecewise polynomials through values, slopes and curvatures at equidistant knots.

    Args:
        lengths: [E] float64; knot k is at ``k * spacing``. Beyond the last knot everything is 0, below 0 the first
            polynomial goes on.
        table: [K, 3, C], value, first and second derivative at each knot.
        spacing: between knots.
        derivative: 0..3.

    Returns:
        [E, C] in the dtype of the table.
    """
    knots = table.shape[0]
    position = lengths / spacing
    knot = position.detach().floor().clamp(0, knots - 2).to(torch.int64)  # [E]
    t = position - knot
    powers = torch.arange(6, dtype=t.dtype, device=t.device)
    factors = torch.ones_like(powers)
    for n in range(derivative):
        factors = factors * (powers - n)
    basis = torch.tensor(BASIS, dtype=t.dtype, device=t.device) * factors  # [6, 6]
    monomials = t.unsqueeze(1) ** (powers - derivative).clamp(min=0)  # [E, 6]
    units = spacing ** (torch.arange(6, dtype=t.dtype, device=t.device) % 3 - derivative)
    weights = (monomials @ basis.T) * units  # [E, 6]
    weights = torch.where((position < knots - 1).unsqueeze(1), weights, torch.zeros_like(weights))
    ends = torch.cat([table.index_select(0, knot), table.index_select(0, knot + 1)], dim=1)  # [E, 6, C]
    return torch.bmm(weights.to(table.dtype).unsqueeze(1), ends).squeeze(1)
