"""The measure by which all other tests judge."""

import math

import pytest
import torch

from equinet_kernels.tolerances import TOLERANCES, relative_error


def test_error_is_the_largest_deviation_over_the_largest_value():
    exact = torch.tensor([[1.0, -4.0], [0.0, 2.0]], dtype=torch.float64)
    assert relative_error(exact, exact) == 0.0
    assert relative_error(exact + torch.tensor([[0.0, 0.0], [0.2, -0.4]]), exact) == pytest.approx(0.1)


def test_error_of_nothing_and_of_zeros():
    zeros = torch.zeros(3)
    assert relative_error(torch.zeros(0, 4), torch.zeros(0, 4)) == 0.0
    assert relative_error(zeros, zeros) == 0.0
    assert relative_error(zeros + 1e-30, zeros) == math.inf


@pytest.mark.parametrize("tolerance", TOLERANCES.values())
def test_nan_and_infinity_pass_no_tolerance(tolerance):
    good = torch.ones(3)
    for value in (math.nan, math.inf):
        bad = torch.tensor([1.0, value, 1.0])
        assert not relative_error(bad, good) <= tolerance
        assert not relative_error(good, bad) <= tolerance
        assert not relative_error(bad, torch.zeros(3)) <= tolerance


def test_float32_is_not_compared_in_float32():
    a = torch.full((1,), 1.0, dtype=torch.float64)
    assert relative_error(a + 1e-9, a.float()) == pytest.approx(1e-9, rel=1e-3)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="different shapes"):
        relative_error(torch.ones(1, 3), torch.ones(4, 3))
