"""Many points in a panel: as points while they can be told apart, then as a density; always in bounded memory."""

from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from equinet.training.report.style import GREY, PALETTE

Array = NDArray[np.float64]

MOST_POINTS = 20_000
"""Above, points cover each other, and a density is drawn."""
BINS = 180
"""Of the density, along each side of the panel: a bin is about two pixels, so that one outlier is still seen."""


def color_of(place: int) -> str:
    """The colour at a place of the palette; grey beyond it."""
    return PALETTE[place] if place < len(PALETTE) else GREY


def draw_points(ax: Any, x: Array, y: Array, category: NDArray[np.int64]) -> None:
    """Draw points in the colours of their categories, into a panel whose limits and scales are set.

    Few points are drawn as such, in an order that favours no category. Many are counted in bins: a bin has the mean
    colour of its points, and the more there are (on a logarithmic scale) the less it is transparent. Time and memory of
    a density do not depend on how the points lie, and the image has the same size for a million.
    """
    if len(x) <= MOST_POINTS:
        order = np.random.default_rng(0).permutation(len(x))
        colors = np.array([to_rgb(color_of(k)) for k in range(int(category.max(initial=0)) + 1)])
        size = 9.0 if len(x) <= 500 else 4.0
        ax.scatter(
            x[order], y[order], s=size, c=colors[category[order]], alpha=0.55, linewidths=0, rasterized=True, zorder=2
        )
        return
    edges = [_edges(ax.get_xlim(), ax.get_xscale()), _edges(ax.get_ylim(), ax.get_yscale())]
    total = np.zeros((BINS, BINS))
    color = np.zeros((BINS, BINS, 3))
    for k in np.unique(category).tolist():
        chosen = category == k
        counts, *_ = np.histogram2d(y[chosen], x[chosen], bins=[edges[1], edges[0]])
        total += counts
        color += counts[..., None] * np.array(to_rgb(color_of(k)))
    filled = total > 0
    image = np.zeros((BINS, BINS, 4))
    image[filled, :3] = color[filled] / total[filled][:, None]
    image[filled, 3] = 0.5 + 0.5 * np.log(total[filled]) / max(np.log(total.max()), 1.0)
    ax.pcolormesh(edges[0], edges[1], image, rasterized=True, zorder=2)


def _edges(limits: tuple[float, float], scale: str) -> Array:
    low, high = limits
    return np.geomspace(low, high, BINS + 1) if scale == "log" else np.linspace(low, high, BINS + 1)
