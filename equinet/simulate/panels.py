"""Panels in one style, for the figures of properties."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure  # imported late: it takes half a second

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#d9772b", "#2a8f6a", "#b0405a", "#777777"
COLORS = (BLUE, ORANGE, GREEN, RED, "#7d5fb0", "#3f9fc0", "#8c6b3f", "#c95fa0")
"""Told apart by people who do not see red and green alike."""


def panels(
    columns: int, rows: int = 1, width: float = 3.6, height: float = 3.2, **keywords: Any
) -> "tuple[Figure, list[Axes]]":
    """A white figure, and its panels row by row.

    Args:
        columns: of panels.
        rows: of panels.
        width: of a panel, inches.
        height: of a panel, inches.
        keywords: of ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False, **keywords).flat)
    for each in axes:
        plain_axes(each)
    return figure, axes


def plain_axes(axes: "Axes") -> None:
    """Two spines, a faint grid behind the data, small text."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.title.set_fontsize(9)


def plain_asinh(axes: "Axes", width: float) -> None:
    """A y axis that is linear within the width about 0 and logarithmic beyond where that is far, with plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_ylim()
    if max(-low, high) < 10 * width:  # one power of ten needs no logarithm
        return
    axes.set_yscale("asinh", linear_width=width)
    powers = [width * 10.0**power for power in range(12)]
    low, high = axes.get_ylim()
    marks = [-each for each in reversed(powers)] + [0.0] + powers
    inside = [each for each in marks if low <= each <= high]
    if len(inside) > 8:  # every other power
        inside = [each for each in inside if round(math.log10(abs(each / width or 1))) % 2 == 0]
    axes.yaxis.set_major_locator(FixedLocator(inside))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
