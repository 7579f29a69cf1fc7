"""Mean absolute and root-mean-square errors from sums per frame, with bootstrap intervals over frames.

Frames are resampled whole: the errors within one are not independent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000
_CHUNK = 4_000_000  # elements of a block of weights held at once


@dataclass(frozen=True)
class ErrorTable:
    """Errors of one quantity, summed within each of F frames."""

    key: str  # of the results, with a place for "mae" or "rmse"
    counts: Array  # [F] how many errors
    absolute: Array  # [F] sum of absolute errors
    squared: Array  # [F] sum of squared errors

    def values(self) -> dict[str, float]:
        """MAE and RMSE; nothing where there are no frames."""
        if not self.counts.size:
            return {}
        total = self.counts.sum()
        return {
            self.key.format("mae"): float(self.absolute.sum() / total),
            self.key.format("rmse"): float(np.sqrt(self.squared.sum() / total)),
        }

    def rms(self) -> float:
        """Root mean square alone."""
        return float(np.sqrt(self.squared.sum() / self.counts.sum()))

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals (Efron 1979) of both; nothing for fewer than two frames."""
        if self.counts.size < 2:
            return {}
        mae, mse = [], []
        for weights in _bootstrap_weights(self.counts.size, seed):
            total = weights @ self.counts
            mae.append(weights @ self.absolute / total)
            mse.append(weights @ self.squared / total)
        low_mae, high_mae = np.percentile(np.concatenate(mae), (2.5, 97.5))
        low_mse, high_mse = np.percentile(np.concatenate(mse), (2.5, 97.5))
        return {
            self.key.format("mae"): (float(low_mae), float(high_mae)),
            self.key.format("rmse"): (float(np.sqrt(low_mse)), float(np.sqrt(high_mse))),
        }


def _bootstrap_weights(frames: int, seed: int) -> list[Array]:
    """How often each frame occurs in each resample, in blocks [R, F]."""
    random = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, _CHUNK // frames))
    blocks = []
    done = 0
    while done < RESAMPLES:
        size = min(rows, RESAMPLES - done)
        blocks.append(random.multinomial(frames, np.full(frames, 1.0 / frames), size=size).astype(np.float64))
        done += size
    return blocks
