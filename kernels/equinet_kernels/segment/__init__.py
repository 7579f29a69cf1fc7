"""Sums over segments: messages to atoms, atom energies to structures."""

from equinet_kernels.segment.reference import segment_sum as segment_sum
