import numpy as np
import pytest
from scipy.stats import norm

from equinet.uncertainty.calibration import calibrate, share_of
from equinet.uncertainty.scores import auroc, score


def heteroscedastic(count=4000, factor=2.5, seed=0):
    rng = np.random.default_rng(seed)
    variance = rng.lognormal(0.0, 1.0, count)
    errors = factor * np.sqrt(variance)[:, None] * rng.normal(size=(count, 3))
    return variance, errors


def test_factor_is_found_and_coverage_is_right():
    variance, errors = heteroscedastic()
    calibration = calibrate(variance, np.square(errors).mean(axis=1), (0.0, 0.1, 0.5, 1.0))
    assert calibration.share == 0.0
    assert calibration.factor == pytest.approx(2.5, rel=0.03)
    new_variance, new_errors = heteroscedastic(seed=1)
    scores = score(new_errors, calibration.sigma(new_variance), np.arange(4000), np.zeros(4000, bool))
    for low, high in [scores.coverage_68_ci95]:
        assert low < 0.6827 < high
    low, high = scores.coverage_95_ci95
    assert low < 0.95 < high
    assert scores.miscalibration < 0.01
    assert scores.z_rms == pytest.approx(1.0, abs=0.02)


def test_a_constant_is_chosen_where_variances_say_nothing():
    rng = np.random.default_rng(0)
    calibration = calibrate(rng.lognormal(0.0, 1.0, 4000), np.square(rng.normal(size=4000)), (0.0, 0.5, 1.0))
    assert calibration.share == 1.0
    assert calibration.sigma(np.array([1e-9, 1e9])) == pytest.approx([1.0, 1.0], rel=0.05)


def test_few_members_are_drawn_to_the_mean():
    """Variances from four draws: without a share, likelihood follows the smallest and most errors are within sigma."""
    rng = np.random.default_rng(0)
    members = rng.normal(size=(4000, 4))
    variance, squares = members.var(axis=1, ddof=1), np.square(rng.normal(size=4000))
    drawn, plain = calibrate(variance, squares, (share_of(3.0),)), calibrate(variance, squares)

    def crps(calibration):
        errors = rng.normal(size=(4000, 1))
        return score(errors, calibration.sigma(variance), np.arange(4000), np.zeros(4000, bool)).crps

    assert plain.factor > 1.3
    assert drawn.factor == pytest.approx(1.0, abs=0.15)
    assert crps(drawn) < 0.97 * crps(plain)


def test_values_that_symmetry_fixes_are_left_out():
    calibration = calibrate(np.array([0.0, 1.0, 1.0]), np.array([1e-30, 4.0, 4.0]))
    assert calibration.factor == pytest.approx(2.0)
    assert calibration.sigma(np.array([0.0])) == 0.0


def test_crps_and_coverage_against_quadrature():
    errors, sigma = np.array([[0.3], [-1.2], [2.0]]), np.array([0.5, 1.0, 0.7])
    x = np.linspace(-30.0, 30.0, 600_001)
    expected = [
        np.trapezoid((norm.cdf(x, 0.0, s) - (x >= error)) ** 2, x) for (error,), s in zip(errors, sigma, strict=True)
    ]
    scores = score(errors, sigma, np.arange(3), np.array([False, False, True]))
    assert scores.crps == pytest.approx(np.mean(expected), abs=1e-4)
    assert scores.coverage_68 == pytest.approx(1 / 3)
    assert scores.coverage_95 == pytest.approx(2 / 3)
    assert scores.z_rms == pytest.approx(np.sqrt(np.mean(np.square([0.6, 1.2, 2.0 / 0.7]))))


def test_rejection_and_ranking():
    size = np.arange(1.0, 11.0)
    right = score(size[:, None], size, np.arange(10), size > 8)
    wrong = score(size[:, None], size[::-1].copy(), np.arange(10), size > 8)
    assert right.rmse_without_worst["10"] == pytest.approx(np.sqrt(np.square(size[:9]).mean()))
    assert right.rmse_without_worst["20"] == pytest.approx(np.sqrt(np.square(size[:8]).mean()))
    assert wrong.rmse_without_worst["20"] == pytest.approx(np.sqrt(np.square(size[2:]).mean()))
    assert (right.rank_correlation, right.auroc_outside) == pytest.approx((1.0, 1.0))
    assert (wrong.rank_correlation, wrong.auroc_outside) == pytest.approx((-1.0, 0.0))
    constant = score(size[:, None], np.ones(10), np.arange(10), size > 8)
    assert constant.rmse_without_worst["20"] == pytest.approx(constant.rmse)
    assert constant.rank_correlation is None
    assert auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert auroc(np.array([1.0, 2.0]), np.array([True, True])) is None


def test_intervals_are_over_frames():
    """All values of a frame alike: as many independent values as frames, so the interval is ten times as wide."""
    rng = np.random.default_rng(0)
    errors = np.repeat(rng.normal(size=50), 100)[:, None]
    within_frames = score(errors, np.ones(5000), np.repeat(np.arange(50), 100), np.zeros(5000, bool)).coverage_68_ci95
    each_a_frame = score(errors, np.ones(5000), np.arange(5000), np.zeros(5000, bool)).coverage_68_ci95
    assert np.ptp(within_frames) > 6 * np.ptp(each_a_frame)
