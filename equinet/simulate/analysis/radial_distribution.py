"""Radial distribution functions, partial and total, and coordination numbers, with block-averaged errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.graph import pair_distances
from equinet.graph.periodic import complete_cell, heights
from equinet.simulate.analysis.blocking import BlockSums, block_average
from equinet.simulate.analysis.curves import TOTAL, banded, symbol
from equinet.simulate.analysis.trajectory import Frame
from equinet.simulate.panels import COLORS, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairDistribution:
    """How atoms of one element (or all) surround those of another.

    Attributes:
        pair: the element in the middle and the one round it, or "all".
        g: [bins] radial distribution function: the density of neighbours over their mean density N_b / V. None where
            the system has no volume: not periodic in three directions.
        g_error: [bins] standard error.
        neighbors_per_angstrom: [bins] dn/dr, of one atom in the middle, 1/Angstrom.
        neighbors_per_angstrom_error: [bins].
        neighbors: [bins] number of neighbours nearer than the outer edge of the bin.
        neighbors_error: [bins].
        first_peak_angstrom: None where there is no peak.
        first_peak_height: of g there.
        first_minimum_angstrom: between the first shell and the second; in the middle of a gap. None where the range
            shows no end of the shell.
        coordination_number: neighbours up to there.
        coordination_number_error: standard error.
    """

    pair: tuple[str, str]
    g: Array | None
    g_error: Array | None
    neighbors_per_angstrom: Array
    neighbors_per_angstrom_error: Array
    neighbors: Array
    neighbors_error: Array
    first_peak_angstrom: float | None
    first_peak_height: float | None
    first_minimum_angstrom: float | None
    coordination_number: float | None
    coordination_number_error: float | None


@dataclass(frozen=True)
class RadialDistribution:
    """Of a trajectory.

    Attributes:
        frames: averaged over.
        r_angstrom: [bins] middles.
        bin_width_angstrom: of them.
        half_cell_angstrom: half the smallest distance between opposite faces of the cell, the smallest of all frames;
            beyond, images of one atom are counted as neighbours of their own. None without periodic directions.
        mean_volume_angstrom3: None where it is not defined.
        pairs: all elements first, then each with each.
    """

    frames: int
    r_angstrom: Array
    bin_width_angstrom: float
    half_cell_angstrom: float | None
    mean_volume_angstrom3: float | None
    pairs: tuple[PairDistribution, ...]

    def of(self, center: str, neighbor: str) -> PairDistribution:
        """The distribution of a pair of elements, or of ("all", "all")."""
        return next(found for found in self.pairs if found.pair == (center, neighbor))


class RadialDistributionRecorder:
    """Counts distances frame by frame; memory does not grow with their number.

    Args:
        cutoff: Angstrom; also beyond half the cell, where periodic images are counted as the neighbours they are. None:
            half the cell of the first frame, 6 at least and 10 at most.
        bin_width: Angstrom.

    Raises:
        InputError: numbers that make no sense.
    """

    def __init__(self, cutoff: float | None = None, bin_width: float = 0.05) -> None:
        if not bin_width > 0 or (cutoff is not None and not bin_width < cutoff < np.inf):
            raise InputError(f"a range of {cutoff} A in bins of {bin_width} A makes no sense; give --rmax above --bin")
        self._cutoff, self._width = cutoff, bin_width
        self._edges = np.zeros(0)
        self._sums = BlockSums()
        self._elements: list[int] = []
        self._counts = np.zeros(0)
        self._volumes: list[float] = []
        self._half = np.inf

    def add(self, frame: Frame) -> None:
        """The next frame.

        Raises:
            InputError: a cell that is none.
        """
        if frame.pbc.any():
            thin = float(heights(complete_cell(frame.cell, frame.pbc))[frame.pbc].min())
            self._half = min(self._half, thin / 2)
        if not self._elements:
            self._begin(frame)
        bins, kinds = len(self._edges) - 1, len(self._elements)
        kind = np.searchsorted(self._elements, frame.numbers)
        receivers, senders, distances = pair_distances(frame.positions, frame.cell, frame.pbc, float(self._edges[-1]))
        place = np.minimum((distances / self._width).astype(np.int64), bins - 1)
        flat = (kind[receivers] * kinds + kind[senders]) * bins + place
        counts = np.bincount(flat, minlength=kinds * kinds * bins).reshape(kinds, kinds, bins).astype(float)
        # Neighbours of one atom in the first half, V times their number in the second: both are averaged as they are.
        each = counts / self._counts[:, None, None]
        if frame.pbc.all():
            self._volumes.append(float(abs(np.linalg.det(frame.cell))))
            self._sums.add(np.stack([each, each * self._volumes[-1]]))
        else:
            self._sums.add(np.stack([each]))

    def _begin(self, frame: Frame) -> None:
        if self._cutoff is None:
            self._cutoff = min(10.0, max(6.0, self._half))
        bins = max(1, round(self._cutoff / self._width))
        self._width = self._cutoff / bins
        self._edges = np.linspace(0.0, self._cutoff, bins + 1)
        elements, counts = np.unique(frame.numbers, return_counts=True)
        self._elements, self._counts = elements.tolist(), counts.astype(float)

    def finish(self) -> RadialDistribution:
        """The distributions.

        Raises:
            InputError: no frames.
        """
        if not self._sums.count:
            raise InputError("no frames to count distances in")
        names = [symbol(number) for number in self._elements]
        mean, blocks = self._sums.average().mean, self._sums.means()
        share = self._counts / self._counts.sum()
        total = [np.einsum("...abr,a->...r", each, share) for each in (mean, blocks)]
        pairs = [self._pair(("all", "all"), total[0], total[1], self._counts.sum())]
        for a, b in product(range(len(names)), repeat=2):
            if len(names) > 1:
                pairs.append(
                    self._pair((names[a], names[b]), mean[..., a, b, :], blocks[..., a, b, :], self._counts[b])
                )
        return RadialDistribution(
            frames=self._sums.count,
            r_angstrom=(self._edges[:-1] + self._edges[1:]) / 2,
            bin_width_angstrom=self._width,
            half_cell_angstrom=self._half if np.isfinite(self._half) else None,
            mean_volume_angstrom3=float(np.mean(self._volumes)) if self._volumes else None,
            pairs=tuple(pairs),
        )

    def _pair(self, pair: tuple[str, str], mean: Array, blocks: Array, number: float) -> PairDistribution:
        """From the mean [1 or 2, bins], block means [blocks, 1 or 2, bins] and the number of possible neighbours."""
        error = block_average(blocks).error
        cumulative = np.cumsum(blocks[:, 0], axis=1)
        neighbors, neighbors_error = np.cumsum(mean[0]), block_average(cumulative).error
        g = g_error = None
        if len(mean) == 2:
            shells = 4 / 3 * np.pi * np.diff(self._edges**3)
            g, g_error = mean[1] / (number * shells), error[1] / (number * shells)
        curve = mean[0] / self._width if g is None else g
        peak, minimum = _first_shell(curve, error[0] / self._width if g_error is None else g_error, self._width)
        r = (self._edges[:-1] + self._edges[1:]) / 2
        return PairDistribution(
            pair=pair,
            g=g,
            g_error=g_error,
            neighbors_per_angstrom=mean[0] / self._width,
            neighbors_per_angstrom_error=error[0] / self._width,
            neighbors=neighbors,
            neighbors_error=neighbors_error,
            first_peak_angstrom=None if peak is None else float(r[peak]),
            first_peak_height=None if peak is None else float(curve[peak]),
            first_minimum_angstrom=None if minimum is None else float(self._edges[minimum + 1]),
            coordination_number=None if minimum is None else float(neighbors[minimum]),
            coordination_number_error=None if minimum is None else float(neighbors_error[minimum]),
        )


def radial_distribution(
    frames: Iterable[Frame], cutoff: float | None = None, bin_width: float = 0.05
) -> RadialDistribution:
    """Of all frames; see :class:`RadialDistributionRecorder`."""
    recorder = RadialDistributionRecorder(cutoff, bin_width)
    for frame in frames:
        recorder.add(frame)
    return recorder.finish()


def draw_radial_distribution(found: RadialDistribution) -> "Figure":
    """g(r), or dn/dr where there is no volume, and the running number of neighbours."""
    figure, (left, right) = panels(2)
    colors = {("all", "all"): TOTAL}
    for each in found.pairs:
        colors.setdefault((min(each.pair), max(each.pair)), COLORS[(len(colors) - 1) % len(COLORS)])
    for each in found.pairs:
        a, b = each.pair
        color = colors[min(a, b), max(a, b)]
        if a <= b:
            curve, error = each.g, each.g_error
            if curve is None or error is None:
                curve, error = each.neighbors_per_angstrom, each.neighbors_per_angstrom_error
            banded(left, found.r_angstrom, curve, error, color, "all" if a == "all" else f"{a}-{b}")
        outer = found.r_angstrom + found.bin_width_angstrom / 2
        label = "all" if a == "all" else f"{b} round {a}"
        if each.coordination_number is not None:
            label += f": {each.coordination_number:.2f}"
        banded(right, outer, each.neighbors, each.neighbors_error, color, label, "-" if a <= b else "--")
        if each.first_minimum_angstrom is not None and each.coordination_number is not None:
            at = (each.first_minimum_angstrom, each.coordination_number)
            right.plot(*at, "o", color=color, markersize=4)
    periodic = found.mean_volume_angstrom3 is not None
    left.set(xlabel="r (Å)", ylabel="g(r)" if periodic else "dn/dr (1/Å)", ylim=(0, None))
    shells = [each.first_minimum_angstrom for each in found.pairs if each.first_minimum_angstrom is not None]
    seen = min(1.6 * max(shells, default=np.inf), float(found.r_angstrom[-1]))
    last = min(len(found.r_angstrom) - 1, int(seen / found.bin_width_angstrom))
    most = max(float(each.neighbors[last]) for each in found.pairs)
    right.set(xlabel="r (Å)", ylabel="neighbours within r", xlim=(0, seen), ylim=(0, max(most, 1)))
    left.set_xlim(0, found.r_angstrom[-1])
    if periodic:
        left.axhline(1, color="#999999", linewidth=0.7, zorder=0)
    if found.half_cell_angstrom is not None and found.half_cell_angstrom < found.r_angstrom[-1]:
        left.axvline(found.half_cell_angstrom, color="#999999", linewidth=0.8, linestyle=":")
        at = (found.half_cell_angstrom, 0.97)
        left.annotate(
            "half the cell", at, (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7,
            color="#777777", rotation=90, va="top",
        )  # fmt: skip
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _first_shell(curve: Array, error: Array, width: float) -> tuple[int | None, int | None]:
    """Bins of the first peak and of the end of its shell: the lowest place before the next peak, or a gap's middle.

    Peaks are looked for in the curve smoothed over 0.1 Angstrom; they stand out by a tenth of the highest, and by four
    times their error.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(curve, 0.1 / width, mode="nearest")
    if not smooth.max() > 0:
        return None, None
    noise = float(np.nan_to_num(np.median(error[curve > 0]))) if (curve > 0).any() else 0.0
    padded = np.concatenate([[0.0], smooth, [0.0]])
    peaks = find_peaks(padded, prominence=max(0.1 * float(smooth.max()), 4 * noise))[0] - 1
    if not len(peaks):
        return None, None
    first = int(peaks[0])
    reach = round(0.2 / width)
    near = slice(max(0, first - reach), first + reach + 1)
    peak = near.start + int(curve[near].argmax())
    end = int(peaks[1]) if len(peaks) > 1 else len(curve)
    valley = smooth[first:end]
    lowest = first + int(valley.argmin())
    if lowest == len(curve) - 1 and valley[-1] > 1e-3 * smooth[first]:
        return peak, None  # still falling where the range ends
    empty = np.flatnonzero(curve[first:end] == 0)
    if len(empty):
        gap = empty[: int(np.argmax(np.append(np.diff(empty) > 1, True))) + 1]
        ends = first + int(gap[-1]) == len(curve) - 1  # nothing comes after it
        lowest = first + int(gap[0] if ends else gap[len(gap) // 2])
    return peak, lowest
