import numpy as np
import pytest

from equinet.errors import InputError
from equinet.simulate import drift


def test_drift_finds_a_slope_within_its_error():
    times = np.linspace(0, 5, 5001)
    rng = np.random.default_rng(0)
    misses = []
    for _ in range(50):
        noise = 1e-5 * rng.standard_normal(len(times))
        found = drift(times, 3.0 + 2e-6 * times + noise)
        misses.append((found.slope - 2e-3) / found.error)
    assert 0.8 < np.std(misses) < 1.25


def test_drift_allows_for_correlated_noise():
    """An error that ignored the correlation would be ten times too small here."""
    times = np.linspace(0, 5, 2001)
    rng = np.random.default_rng(0)
    misses = []
    for _ in range(40):
        noise = np.convolve(rng.standard_normal(len(times) + 99), np.ones(100) / 100, mode="valid")
        found = drift(times, 1e-5 * noise)
        misses.append(found.slope / found.error)
    assert 0.7 < np.std(misses) < 1.6


def test_drift_of_a_straight_line_has_no_error():
    found = drift(np.arange(4.0), 1e-3 * np.arange(4.0))
    assert found.slope == pytest.approx(1.0)
    assert found.error == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="three"):
        drift(np.arange(2.0), np.arange(2.0))
