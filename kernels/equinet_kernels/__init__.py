"""Operators of equivariant graph networks. They know nothing of models or files, and need torch alone."""

from equinet_kernels.basis import Block as Block
from equinet_kernels.basis import Layout as Layout
from equinet_kernels.basis import clebsch_gordan as clebsch_gordan
from equinet_kernels.conv import UVUConv as UVUConv
from equinet_kernels.dispatch import Choice as Choice
from equinet_kernels.dispatch import explain as explain
from equinet_kernels.dispatch import observe as observe
from equinet_kernels.dispatch import use as use
from equinet_kernels.geometry import edge_vectors as edge_vectors
from equinet_kernels.harmonics import SphericalHarmonics as SphericalHarmonics
from equinet_kernels.radial_conv import RadialConv as RadialConv
from equinet_kernels.radial_conv import TabulatedConv as TabulatedConv
from equinet_kernels.segment import index_sum as index_sum
from equinet_kernels.segment import segment_gather as segment_gather
from equinet_kernels.segment import segment_sum as segment_sum
from equinet_kernels.spec import ConvSpec as ConvSpec
from equinet_kernels.spec import Path as Path
from equinet_kernels.spline import hermite_table as hermite_table
from equinet_kernels.spline import radial_spline as radial_spline
from equinet_kernels.spline import tabulate as tabulate
from equinet_kernels.topology import EdgeTopology as EdgeTopology
from equinet_kernels.topology import check_topology as check_topology
from equinet_kernels.topology import edge_topology as edge_topology
from equinet_kernels.topology import row_pointers as row_pointers
from equinet_kernels.topology import with_isolated_nodes as with_isolated_nodes
