"""The convolutions whose weights come from the distance, without ever being there for all edges."""

import torch
from torch import Tensor

from equinet_kernels.conv.op import UVUConv
from equinet_kernels.dispatch import choose, record
from equinet_kernels.harmonics.op import SphericalHarmonics
from equinet_kernels.operator import Operator
from equinet_kernels.radial_conv import hidden, tabulated  # noqa: F401 (define torch.ops.equinet.*)
from equinet_kernels.spec import ConvSpec
from equinet_kernels.spline.op import RadialSpline
from equinet_kernels.topology import EdgeTopology


class RadialConv(Operator):
    """The convolution with weights ``h @ weight``, h being the last hidden layer of a radial network; for training.

    The same numbers as :class:`UVUConv` of the product, in memory that does not grow with ``E * sum_p C_p``.

    Args:
        spec: coupling paths and layouts.
        dtype: of all floating tensors.
    """

    operator = "radial_uvu_conv"

    def __init__(self, spec: ConvSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec_string = str(spec)
        self.conv = UVUConv(spec, dtype)

    def forward(self, x: Tensor, y: Tensor, h: Tensor, weight: Tensor, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], y [E, (l_max + 1)^2], h [E, H], weight [H, sum_p C_p] -> [N, dim out].

        Raises:
            ValueError: shapes, dtypes or devices that do not fit; a graph that is none.
        """
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.radial_uvu_conv(x, y, h, weight, *topology, self.spec_string)
                return scripted
        else:
            if choose(self.operator, x.device.type)[0] == "cpu":
                out: Tensor = torch.ops.equinet.radial_uvu_conv(x, y, h, weight, *topology, self.spec_string)
                return out
            record(self.operator, "reference")
        return self.conv(x, y, h @ weight, topology)


class TabulatedConv(Operator):
    """The convolution from edge vectors and a table of weights over the distance; for inference.

    Harmonics and weights are made for a block of receivers at a time, in forward and again in backward: memory is
    bounded, whatever the size of the system. Second derivatives (a Hessian) take the memory of :class:`UVUConv`.

    Args:
        spec: coupling paths and layouts.
        dtype: of features and table; vectors are float64.
    """

    operator = "tabulated_uvu_conv"

    def __init__(self, spec: ConvSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec_string = str(spec)
        self.dtype = dtype
        self.conv = UVUConv(spec, dtype)
        self.harmonics = SphericalHarmonics(spec.l_max)
        self.spline = RadialSpline()

    def forward(self, x: Tensor, vectors: Tensor, table: Tensor, spacing: float, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], vectors [E, 3] float64, table [K, 6, sum_p C_p] as :func:`radial_spline` has it -> [N, dim
        out].

        Raises:
            ValueError: shapes, dtypes or devices that do not fit; a graph that is none.
        """
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.tabulated_uvu_conv(
                    x, vectors, table, spacing, *topology, self.spec_string
                )
                return scripted
        else:
            if choose(self.operator, x.device.type)[0] == "cpu":
                out: Tensor = torch.ops.equinet.tabulated_uvu_conv(
                    x, vectors, table, spacing, *topology, self.spec_string
                )
                return out
            record(self.operator, "reference")
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        y = self.harmonics(vectors / lengths.unsqueeze(1)).to(self.dtype)
        w = self.spline(lengths, table, spacing)
        result: Tensor = self.conv(x, y, w, topology)
        return result
