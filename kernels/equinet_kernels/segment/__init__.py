"""Sums over segments: messages to atoms, atom energies to structures."""

from equinet_kernels.segment.op import SegmentGather as SegmentGather
from equinet_kernels.segment.op import SegmentSum as SegmentSum
from equinet_kernels.segment.op import segment_gather as segment_gather
from equinet_kernels.segment.op import segment_sum as segment_sum
from equinet_kernels.segment.reference import index_sum as index_sum
from equinet_kernels.segment.reference import segment_gather_reference as segment_gather_reference
from equinet_kernels.segment.reference import segment_sum_reference as segment_sum_reference
