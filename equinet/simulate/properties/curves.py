"""How figures of analyses look: thin lines, bands of error, no more ink than needed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from equinet.elements import SYMBOLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOTAL = "#333333"
COLORS = ("#1f5fa8", "#d9772b", "#2a8f6a", "#b0405a", "#7d5fb0", "#3f9fc0", "#8c6b3f", "#c95fa0")
"""Told apart by people who do not see red and green alike."""


def panels(count: int, width: float = 4.6, height: float = 3.4) -> "tuple[Figure, list[Any]]":
    """A white figure with so many axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05)  # type: ignore[union-attr, call-arg]
    axes = list(np.atleast_1d(figure.subplots(1, count)))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.5)
        axis.set_axisbelow(True)
    return figure, axes


def banded(axis: Any, x: Any, y: Any, error: Any, color: str, label: str, style: str = "-") -> None:
    """A line, and round it a band of one standard error where there is one."""
    axis.plot(x, y, color=color, linewidth=1.4, linestyle=style, label=label)
    if np.isfinite(error).any():
        axis.fill_between(x, y - error, y + error, color=color, alpha=0.25, linewidth=0)


def with_error(value: float, error: float) -> str:
    """Both to the two leading digits of the error, as "4.29 ± 0.21"."""
    if not (np.isfinite(error) and error > 1e-12 * abs(value)):
        return f"{value:.4g}"
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def symbol(number: int) -> str:
    """Of an element."""
    return str(SYMBOLS[number])
