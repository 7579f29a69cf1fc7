"""The spherical harmonics operator."""

import torch
from torch import Tensor

from equinet_kernels.dispatch import choose, record
from equinet_kernels.harmonics import registration  # noqa: F401 (defines torch.ops.equinet.spherical_harmonics)
from equinet_kernels.harmonics.reference import coupling_tables, spherical_harmonics_reference
from equinet_kernels.operator import Operator
from equinet_kernels.spec import MAX_L


class SphericalHarmonics(Operator):
    """Real spherical harmonics Y_0 .. Y_l_max of unit vectors; conventions of :mod:`equinet_kernels.basis`.

    Every implementation computes the same homogeneous polynomials, of degree l for Y_l, so that their derivatives agree
    too, across the unit sphere and along it.

    Args:
        l_max: highest degree, 0..6.
        dtype: of the directions and the result.

    Raises:
        ValueError: l_max out of range.
    """

    operator = "spherical_harmonics"
    tables: Tensor

    def __init__(self, l_max: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        if not 0 <= l_max <= MAX_L:
            raise ValueError(f"l_max must be 0..{MAX_L}, got {l_max}")
        self.l_max = l_max
        self.register_buffer("tables", coupling_tables(l_max).to(dtype), persistent=False)

    def forward(self, directions: Tensor) -> Tensor:
        """[E, 3] unit vectors -> [E, (l_max + 1)^2].

        Raises:
            ValueError: another shape, or another dtype than these harmonics were made for.
        """
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.spherical_harmonics(directions, self.l_max)
                return scripted
        else:
            if directions.dtype != self.tables.dtype:
                raise ValueError(f"harmonics made for {self.tables.dtype} got directions in {directions.dtype}")
            if choose(self.operator, directions.device.type)[0] != "reference":
                y: Tensor = torch.ops.equinet.spherical_harmonics(directions, self.l_max)
                return y
            record(self.operator, "reference")
        return spherical_harmonics_reference(directions, self.tables, self.l_max)
