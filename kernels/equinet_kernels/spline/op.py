"""The spline operator."""

import torch
from torch import Tensor

from equinet_kernels.dispatch import choose, record
from equinet_kernels.operator import Operator
from equinet_kernels.spline import registration  # noqa: F401 (defines torch.ops.equinet.radial_spline)
from equinet_kernels.spline.reference import spline_reference


def radial_spline(lengths: Tensor, table: Tensor, spacing: float, derivative: int = 0) -> Tensor:
    """Tabulated functions of the distance: polynomials of degree 5 on equal intervals; see :func:`spline_reference`.

    Differentiable by the lengths, as often as there are derivatives (three); the table is made, not trained, by
    :func:`hermite_table`.

    Args:
        lengths: [E] float64; everything is 0 beyond the last interval.
        table: [K, 6, C], coefficients on the intervals from ``k * spacing`` on.
        spacing: length of an interval.
        derivative: 0..3.

    Returns:
        [E, C] in the dtype of the table.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit; a spacing or a derivative out of range.
    """
    if choose("radial_spline", lengths.device.type)[0] == "reference":
        record("radial_spline", "reference")
        return spline_reference(lengths, table, spacing, derivative)
    out: Tensor = torch.ops.equinet.radial_spline(lengths, table, spacing, derivative)
    return out


class RadialSpline(Operator):
    """:func:`radial_spline`, the functions themselves, as a module."""

    operator = "radial_spline"

    def forward(self, lengths: Tensor, table: Tensor, spacing: float) -> Tensor:
        """lengths [E] float64, table [K, 6, C] -> [E, C]."""
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.radial_spline(lengths, table, spacing, 0)
                return scripted
            return spline_reference(lengths, table, spacing, 0)
        return radial_spline(lengths, table, spacing)
