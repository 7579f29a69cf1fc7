"""Real spherical harmonics of edge directions."""

from equinet_kernels.harmonics.op import SphericalHarmonics as SphericalHarmonics
from equinet_kernels.harmonics.reference import coupling_tables as coupling_tables
from equinet_kernels.harmonics.reference import spherical_harmonics_reference as spherical_harmonics_reference
