"""Segment sums and edge vectors against loops."""

from functools import partial

import pytest
import torch
from torch import Tensor

from equinet_kernels import edge_vectors, segment_sum
from equinet_kernels.tolerances import TOLERANCES, relative_error


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("trailing", [(), (3,), (2, 5)])
@pytest.mark.parametrize("segments", [[0, 0, 2, 2, 2, 4], [3, 0, 3, 1], [1], []], ids=str)
def test_segment_sum_by_a_loop(segments, trailing):
    values = normal(len(segments), *trailing)
    expected = torch.zeros(5, *trailing, dtype=torch.float64)
    for row, segment in zip(values, segments, strict=True):
        expected[segment] += row
    out = segment_sum(values, torch.tensor(segments, dtype=torch.int64), 5)
    assert out.dtype == torch.float64
    assert torch.equal(out, expected)  # the order of the rows, so the same bits


def test_segment_sum_of_thousands_repeats():
    values, segments = (
        normal(20000, 7).float(),
        torch.randint(0, 3, (20000,), generator=torch.Generator().manual_seed(0)),
    )
    first = segment_sum(values, segments, 4)
    assert first.dtype == torch.float32
    assert all(torch.equal(segment_sum(values, segments, 4), first) for _ in range(5))
    exact = torch.stack([values.double()[segments == s].sum(dim=0) for s in range(4)])
    assert relative_error(first, exact) <= TOLERANCES[torch.float32]


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_of_segment_sum(check):
    segments = torch.tensor([0, 0, 2, 2])
    assert check(lambda values: segment_sum(values, segments, 3), (normal(4, 2).requires_grad_(),))


BATCH = torch.tensor([0, 0, 0, 1, 1])
SENDERS = torch.tensor([1, 0, 2, 0, 4, 3, 4])
RECEIVERS = torch.tensor([0, 0, 1, 2, 3, 4, 4])
IMAGES = torch.tensor([[0, 0, 0], [1, 0, -2], [0, 3, 1], [0, 0, 0], [-1, 2, 0], [0, 0, 5], [1, 1, 1]])
vectors_of = partial(edge_vectors, batch=BATCH, senders=SENDERS, receivers=RECEIVERS, images=IMAGES)


def test_edge_vectors_by_a_loop():
    positions, cell = normal(5, 3), normal(2, 3, 3, seed=1)
    out = vectors_of(positions, cell)
    for e, (s, r, image) in enumerate(zip(SENDERS.tolist(), RECEIVERS.tolist(), IMAGES.tolist(), strict=True)):
        translation = sum(n * row for n, row in zip(image, cell[BATCH[r]], strict=True))
        assert (out[e] - (positions[s] + translation - positions[r])).abs().max() < 1e-14


def test_no_edge_vectors():
    none = torch.zeros(0, dtype=torch.int64)
    out = edge_vectors(normal(5, 3), normal(2, 3, 3), BATCH, none, none, none.view(0, 3))
    assert out.shape == (0, 3)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_of_edge_vectors(check):
    assert check(vectors_of, (normal(5, 3).requires_grad_(), normal(2, 3, 3, seed=1).requires_grad_()))
