"""The convolution with weights that exist for a block of receivers at a time, and never for all edges."""

from equinet_kernels.radial_conv.op import RadialConv as RadialConv
from equinet_kernels.radial_conv.op import TabulatedConv as TabulatedConv
