import numpy as np
import pytest
from scipy.signal import lfilter

from equinet.simulate.analysis.blocking import BlockSums, block_average


def autoregressive(phi, steps, runs, seed=0):
    """x_t = phi x_(t-1) + noise, from its stationary distribution; and the exact standard error of its mean."""
    noise = np.random.default_rng(seed).standard_normal((steps, runs))
    noise[0] /= np.sqrt(1 - phi**2)
    lags = np.arange(1, steps)
    inflation = 1 + 2 * np.sum((1 - lags / steps) * phi**lags)
    return lfilter([1.0], [1.0, -phi], noise, axis=0), np.sqrt(inflation / steps / (1 - phi**2))


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.97, -0.4])
def test_error_of_a_correlated_mean(phi):
    samples, exact = autoregressive(phi, 8192, 200)
    found = block_average(samples)
    assert found.settled.all()
    assert found.error.mean() == pytest.approx(exact, rel=0.07)
    assert found.error.std() < 0.25 * exact
    np.testing.assert_allclose(found.mean, samples.mean(axis=0))
    assert 0.85 < np.std(found.mean / found.error) < 1.2  # the truth is 0


def test_too_short_a_run_says_so():
    samples, exact = autoregressive(0.999, 200, 50)
    found = block_average(samples)
    assert not found.settled.any()
    assert (found.error < exact).mean() > 0.8  # a lower bound


@pytest.mark.parametrize("steps", [5, 256, 1000, 5000])
def test_sums_keep_the_mean_and_the_error(steps):
    samples, _ = autoregressive(0.8, steps, 40)
    sums = BlockSums()
    for sample in samples:
        sums.add(sample)
    assert len(sums.means()) <= BlockSums.MOST
    found, direct = sums.average(), block_average(samples)
    np.testing.assert_allclose(found.mean, samples.mean(axis=0), rtol=1e-10)
    assert found.error.mean() == pytest.approx(direct.error.mean(), rel=0.15)


def test_constants_have_no_error_and_few_samples_none_that_is_known():
    assert block_average(np.ones((50, 2))).error.tolist() == [0.0, 0.0]
    assert np.isnan(block_average(np.arange(3.0)).error)
