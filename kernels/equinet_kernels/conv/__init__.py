"""The equivariant convolution, where a model's time goes."""

from equinet_kernels.conv.op import UVUConv as UVUConv
from equinet_kernels.conv.reference import reference_tables as reference_tables
from equinet_kernels.conv.reference import uvu_conv_reference as uvu_conv_reference
