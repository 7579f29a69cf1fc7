"""Curves with their errors, in the figures of analyses and in text."""

from typing import Any

import numpy as np

from equinet.elements import SYMBOLS

TOTAL = "#333333"


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
