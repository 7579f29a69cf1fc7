"""Ghosts: atoms that a process sees and another process, or another periodic image, owns."""

from equinet_kernels.ghosts.conv import TabulatedConvWithGhosts as TabulatedConvWithGhosts
from equinet_kernels.ghosts.conv import UVUConvWithGhosts as UVUConvWithGhosts
from equinet_kernels.ghosts.conv import with_ghosts as with_ghosts
from equinet_kernels.ghosts.registration import ghosts_of as ghosts_of
