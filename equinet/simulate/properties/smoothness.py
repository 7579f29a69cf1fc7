"""Whether a curve of energies and slopes is one: both along a scan, where no data are."""

from collections.abc import Callable

import numpy as np

Point = Callable[[float], tuple[float, float]]
"""The energy and its slope at x."""

_HALVINGS = 12


def first_jump(
    at: Point, x: np.ndarray, energies: np.ndarray, slopes: np.ndarray, tolerance: float
) -> tuple[float, float] | None:
    """Where the energy changes by something else than the integral of its slope.

    Intervals in which it seems to are halved: what is left after twelve times is a jump, not a bend.

    Args:
        at: makes further points.
        x: [N] ascending.
        energies: [N].
        slopes: [N] dE/dx.
        tolerance: of the energy.

    Returns:
        x and the jump, the first from high x to low; None where there is none.
    """
    for index in range(len(x) - 2, -1, -1):
        low = (float(x[index]), float(energies[index]), float(slopes[index]))
        high = (float(x[index + 1]), float(energies[index + 1]), float(slopes[index + 1]))
        for _ in range(_HALVINGS):
            if abs(_missing(low, high)) <= tolerance:
                break
            middle = (low[0] + high[0]) / 2
            between = (middle, *at(middle))
            if abs(_missing(low, between)) > abs(_missing(between, high)):
                high = between
            else:
                low = between
        else:
            return high[0], _missing(low, high)
    return None


def _missing(low: tuple[float, float, float], high: tuple[float, float, float]) -> float:
    """Change of the energy that the slopes do not explain, by the trapezium."""
    return high[1] - low[1] - (high[0] - low[0]) * (low[2] + high[2]) / 2


def minima(energies: np.ndarray) -> np.ndarray:
    """Points lower than their neighbours; the first too, where the curve rises from it."""
    lower_than_next = np.append(energies[:-1] < energies[1:], False)
    lower_than_last = np.insert(energies[1:] <= energies[:-1], 0, True)
    return np.flatnonzero(lower_than_next & lower_than_last)
