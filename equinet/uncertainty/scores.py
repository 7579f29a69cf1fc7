"""How good standard deviations are: CRPS, coverage, reliability, what is left after rejection, ranking."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COVERAGES = {"68": 0.6826894921370859, "95": 0.95}
"""Shares of errors within sigma, and within 1.96 sigma."""
REJECTED = {"10": 0.10, "20": 0.20}
"""Shares with the largest sigma that are left out."""
CURVE = tuple(number / 20 for number in range(1, 20))
"""Levels of intervals, and shares rejected, at which curves are drawn."""
BINS = 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Bin:
    """Errors whose standard deviations are alike."""

    sigma: float  # rms
    rmse: float
    rmse_ci95: tuple[float, float] | None
    count: int


@dataclass(frozen=True)
class Scores:
    """Of the standard deviations of one quantity by one method. Units are those of the errors.

    Intervals are percentiles of bootstrap resamples of whole frames; None for a single frame.

    Attributes:
        rmse: of the errors, per component.
        crps: continuous ranked probability score (Gneiting and Raftery, J. Am. Stat. Assoc. 102, 359 (2007)); smaller
            is better.
        coverage_68: share of errors within sigma; 0.68 is right.
        coverage_95: share within 1.96 sigma; 0.95 is right.
        miscalibration: mean over all levels of |share of errors within the interval - the level| (Tran et al., Mach.
            Learn.: Sci. Technol. 1, 025006 (2020)).
        z_rms: rms of error/sigma; 1 is right.
        rmse_without_worst: rmse left when the shares REJECTED with the largest sigma are left out.
        rank_correlation: Spearman's, between sigma and the size of the error; None where sigma is constant.
        auroc_outside: area under the ROC curve of sigma for errors over three times those of the calibration set; None
            without such errors, or without others.
        bins: from small to large sigma.
        covered: share of errors within intervals of the levels CURVE.
        left: rmse left when the shares CURVE are rejected.
    """

    rmse: float
    crps: float
    crps_ci95: tuple[float, float] | None
    coverage_68: float
    coverage_68_ci95: tuple[float, float] | None
    coverage_95: float
    coverage_95_ci95: tuple[float, float] | None
    miscalibration: float
    z_rms: float
    rmse_without_worst: dict[str, float]
    rank_correlation: float | None
    auroc_outside: float | None
    bins: list[Bin]
    covered: list[float]
    left: list[float]


def score(errors: Array, sigma: Array, frames: NDArray[np.int64], outside: NDArray[np.bool_]) -> Scores:
    """Scores of standard deviations.

    Args:
        errors: [n, c] of n values with c components.
        sigma: [n] of one component; positive.
        frames: [n] number of the frame of each.
        outside: [n] whether the error counts as one outside what is known.
    """
    from scipy.special import erf
    from scipy.stats import norm, rankdata

    size = np.sqrt(np.square(errors).mean(axis=1))  # [n]
    z = np.abs(errors) / sigma[:, None]
    crps = sigma[:, None] * (z * erf(z / np.sqrt(2)) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    within = {name: (z < norm.ppf(0.5 + level / 2)).mean(axis=1) for name, level in COVERAGES.items()}
    resampled = _Resampled(frames)
    levels = np.linspace(0.005, 0.995, 100)
    shares = np.searchsorted(np.sort(z.ravel()), norm.ppf(0.5 + levels / 2)) / z.size
    order = np.argsort(sigma, kind="stable")
    varies = np.ptp(sigma) > 1e-9 * sigma.max()
    ranks = rankdata(sigma)
    curve = np.searchsorted(np.sort(z.ravel()), norm.ppf(0.5 + np.array(CURVE) / 2)) / z.size
    # a constant rejects at random
    sorted_squares = np.square(size[order]) if varies else np.full(len(size), np.square(size).mean())
    return Scores(
        rmse=float(np.sqrt(np.square(size).mean())),
        crps=float(crps.mean()),
        crps_ci95=resampled.interval(crps.mean(axis=1)),
        coverage_68=float(within["68"].mean()),
        coverage_68_ci95=resampled.interval(within["68"]),
        coverage_95=float(within["95"].mean()),
        coverage_95_ci95=resampled.interval(within["95"]),
        miscalibration=float(np.abs(shares - levels).mean()),
        z_rms=float(np.sqrt(np.square(z).mean())),
        rmse_without_worst={name: _left(sorted_squares, share) for name, share in REJECTED.items()},
        rank_correlation=float(np.corrcoef(ranks, rankdata(size))[0, 1]) if varies and np.ptp(size) > 0 else None,
        auroc_outside=auroc(sigma, outside) if varies else None,
        bins=_bins(size, sigma, frames, order),
        covered=curve.tolist(),
        left=[_left(sorted_squares, share) for share in CURVE],
    )


def best_rejection(errors: Array, shares: Sequence[float]) -> list[float]:
    """Rmse left when the largest errors themselves are left out: no standard deviation can do better."""
    squares = np.sort(np.square(errors).mean(axis=1))
    return [_left(squares, share) for share in shares]


def _left(squares: Array, share: float) -> float:
    """Root mean of all but the last share."""
    return float(np.sqrt(squares[: max(1, round(len(squares) * (1.0 - share)))].mean()))


def auroc(score: Array, positive: NDArray[np.bool_]) -> float | None:
    """Probability that a positive has a higher score than a negative; ties count half. None without one of each."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    return float((rankdata(score)[positive].sum() - count * (count + 1) / 2) / (count * others))


def _bins(size: Array, sigma: Array, frames: NDArray[np.int64], order: NDArray[np.int64]) -> list[Bin]:
    """Of equal counts."""
    bins = []
    for chosen in np.array_split(order, min(BINS, max(1, len(order) // 5))):
        squares = np.square(size[chosen])
        interval = _Resampled(frames[chosen]).interval(squares)
        bins.append(
            Bin(
                sigma=float(np.sqrt(np.square(sigma[chosen]).mean())),
                rmse=float(np.sqrt(squares.mean())),
                rmse_ci95=None if interval is None else (interval[0] ** 0.5, interval[1] ** 0.5),
                count=len(chosen),
            )
        )
    return bins


class _Resampled:
    """Means over values whose frames are drawn with replacement."""

    def __init__(self, frames: NDArray[np.int64]) -> None:
        _, self._index = np.unique(frames, return_inverse=True)
        self._counts = np.bincount(self._index).astype(np.float64)

    def interval(self, values: Array) -> tuple[float, float] | None:
        """95 % percentile interval of the mean of values [n]."""
        count = len(self._counts)
        if count < 2:
            return None
        sums = np.bincount(self._index, values, count)
        random = np.random.default_rng(0)
        means = []
        for _ in range(RESAMPLES // 100):
            weights = random.multinomial(count, np.full(count, 1.0 / count), size=100)
            means.append((weights @ sums) / (weights @ self._counts))
        low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
        return float(low), float(high)
