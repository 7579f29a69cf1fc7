"""Segment sum in plain torch."""

from torch import Tensor


def segment_sum(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Sum rows that belong to one segment: ``out[s] = sum of values[e] over segments[e] == s``.

    On a CPU the order of summation is the order of the rows: the same bits on every run.

    Args:
        values: [E, ...].
        segments: [E] int64.
        num_segments: S.

    Returns:
        [S, ...].
    """
    out = values.new_zeros([num_segments] + list(values.shape[1:]))
    return out.index_add(0, segments, values)
