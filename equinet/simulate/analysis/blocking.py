"""Means of correlated samples with honest errors: blocks are made longer until their means are independent.

The error of a mean of n samples from blocks of b is sqrt(var(block means) / number of blocks): too small while blocks
are shorter than the memory of the process, then constant, then noisy because few are left (Flyvbjerg and Petersen,
J. Chem. Phys. 91, 461 (1989)). The block length taken is the shortest with b^3 > 2 n (s_b / s_1)^4, s being the error
(Lee et al., Phys. Rev. E 83, 066706 (2011)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST_BLOCKS = 4
"""Fewer say nothing of their spread."""


@dataclass(frozen=True)
class BlockAverage:
    """Means and their standard errors.

    Attributes:
        mean: [...] of all samples.
        error: [...] standard error of the mean; NaN with fewer samples than FEWEST_BLOCKS.
        settled: [...] whether a block length was long enough; where not, the error is the largest found, and a lower
            bound: the run is too short.
    """

    mean: Array
    error: Array
    settled: NDArray[np.bool_]


def block_average(samples: Array) -> BlockAverage:
    """Mean and error of samples [T, ...] that follow each other in time, elementwise over the other axes."""
    samples = np.asarray(samples, dtype=np.float64)
    count, shape = len(samples), samples.shape[1:]
    mean = samples.mean(axis=0) if count else np.full(shape, np.nan)
    error, settled = np.full(shape, np.nan), np.zeros(shape, bool)
    if count < FEWEST_BLOCKS:
        return BlockAverage(mean, error, settled)
    blocks, length = samples, 1
    first = _error(blocks)
    first = np.where(first < 1e-13 * abs(mean), 0.0, first)  # rounding
    largest = first
    settled = first == 0.0
    error = np.where(settled, 0.0, error)
    while len(blocks) >= FEWEST_BLOCKS:
        this = _error(blocks)
        largest = np.maximum(largest, this)
        with np.errstate(divide="ignore", invalid="ignore"):
            enough = length**3 > 2 * count * (this / first) ** 4
        error = np.where(enough & ~settled, this, error)
        settled = settled | enough
        blocks = blocks[: len(blocks) // 2 * 2]
        blocks = (blocks[0::2] + blocks[1::2]) / 2
        length *= 2
    return BlockAverage(mean, np.where(settled, error, largest), settled)


def _error(blocks: Array) -> Array:
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))


class BlockSums:
    """Samples of any number, kept as at most 256 block means: where those are full, neighbours are joined.

    Arrays are added one by one; memory does not grow with their number.
    """

    MOST = 256

    def __init__(self) -> None:
        self.count = 0
        self._total: Array | float = 0.0
        self._means: list[Array] = []
        self._length = 1
        self._open: Array | float = 0.0
        self._opened = 0

    def add(self, sample: Array) -> None:
        """One sample, of the same shape as all others."""
        self.count += 1
        self._total = self._total + sample
        self._open = self._open + sample
        self._opened += 1
        if self._opened < self._length:
            return
        self._means.append(np.asarray(self._open / self._length))
        self._open, self._opened = 0.0, 0
        if len(self._means) == self.MOST:
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._length *= 2

    def means(self) -> Array:
        """Means [blocks, ...] of the full blocks, in the order of time."""
        return np.array(self._means)

    def average(self) -> BlockAverage:
        """The mean of every sample, with errors from the full blocks."""
        found = block_average(self.means())
        return BlockAverage(np.asarray(self._total / self.count), found.error, found.settled)


def windowed_average(samples: Array, memory: int) -> BlockAverage:
    """Mean and error of samples [T, ...] that overlap, as averages over time origins do.

    They are correlated over `memory` samples for certain, of which a run has few, so that blocking alone now and then
    finds far too small an error by chance. The larger of two is taken: that of blocks, and that from the
    autocorrelation summed up to the memory, less the bias of a mean that comes from the samples themselves (Anderson,
    The Statistical Analysis of Time Series (1971), chapter 8).
    """
    found = block_average(samples)
    count, memory = len(samples), min(memory, len(samples) // 4)
    deviations = samples - found.mean
    total = np.sum(deviations**2, axis=0)
    variance = total.copy()
    for lag in range(1, memory + 1):
        variance += 2 * np.sum(deviations[lag:] * deviations[:-lag], axis=0)
    bias = 1 - (2 * memory + 1) / count + memory * (memory + 1) / count**2
    error = np.sqrt(np.maximum(variance, total) / bias) / count
    return BlockAverage(found.mean, np.fmax(error, found.error), found.settled)
