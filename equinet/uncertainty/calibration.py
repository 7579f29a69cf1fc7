"""From variances to standard deviations that errors really have: factors of maximum likelihood on held-out data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIXTURES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a constant that are tried where one may be mixed in."""
PRIOR_FREEDOM = 2.0
"""Degrees of freedom that the mean variance counts for beside a variance estimated from a few members."""


@dataclass(frozen=True)
class Calibration:
    """A standard deviation of errors from a variance: ``sigma^2 = factor^2 ((1 - share) variance + share typical)``.

    Attributes:
        factor: one where variances are those of the errors already.
        typical: mean variance of the calibration set.
        share: of the typical variance. Variances estimated from a few members scatter, and a chance agreement of all
            would claim certainty: they are drawn towards the mean as in Smyth, Stat. Appl. Genet. Mol. Biol. 3,
            3 (2004). Zero where a variance is no estimate.
    """

    factor: float
    typical: float
    share: float

    def sigma(self, variance: Array) -> Array:
        """Standard deviations of any shape, in the unit of the errors."""
        return np.asarray(self.factor * np.sqrt(self._mixed(variance)))

    def _mixed(self, variance: Array) -> Array:
        return (1.0 - self.share) * variance + self.share * self.typical


def calibrate(variance: Array, squared_error: Array, shares: Sequence[float] = (0.0,)) -> Calibration:
    """The calibration that makes the errors of a set most likely, if they are Gaussian.

    Args:
        variance: [n], not negative.
        squared_error: [n] mean square of the components of each error.
        shares: of a constant, of which the likeliest is taken.

    Variances of zero are those of values that symmetry fixes; they are left out.
    """
    known = variance > 1e-12 * variance.mean() if variance.size else variance > 0.0
    if not known.any():
        return Calibration(1.0, 0.0, 0.0)
    variance, squared_error = variance[known], squared_error[known]
    typical = float(variance.mean())
    best, least = Calibration(1.0, typical, shares[0]), np.inf
    for share in shares:
        mixed = (1.0 - share) * variance + share * typical
        square = max(float((squared_error / mixed).mean()), 1e-300)
        loss = float(np.log(square * mixed).mean())  # the rest of the likelihood is 1 for each
        if loss < least:
            best, least = Calibration(square**0.5, typical, share), loss
    return best


def share_of(freedom: float) -> float:
    """Of the typical variance beside one with so many degrees of freedom."""
    return PRIOR_FREEDOM / (PRIOR_FREEDOM + freedom)
