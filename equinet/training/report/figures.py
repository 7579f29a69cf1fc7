"""The figures of a test report: parity, distributions of errors, directions of forces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.training.report.quantities import Quantity, angles
from equinet.training.report.style import BLUE, GREY, ORANGE, figure

Array = NDArray[np.float64]


def parity_by(quantities: Sequence[Quantity], category: str, path: Path) -> Path:
    """Predictions against labels of each quantity, which has some, in the colours of its categories."""
    from equinet.training.report.density import draw_points

    with figure(path, len(quantities)) as axes:
        for ax, quantity in zip(axes, quantities, strict=True):
            name = f"{quantity.label} ({quantity.unit})"
            ax.set(xlabel=f"reference {name}", ylabel=f"predicted {name}")
            both = np.concatenate([quantity.reference, quantity.predicted])
            low, high = float(both.min()), float(both.max())
            margin = 0.04 * (high - low) or 0.01
            ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
            ax.set_aspect("equal", adjustable="box")
            ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
            draw_points(ax, quantity.reference, quantity.predicted, quantity.categories[category].index)
            _legend(ax, quantity, category)
    return path


def error_distributions(quantities: Sequence[Quantity], category: str, path: Path) -> Path:
    """Of each quantity a row: histogram of the errors, their cumulative distribution, and errors over labels."""
    with figure(path, 3, len(quantities), height=2.5) as axes:
        for row, quantity in enumerate(quantities):
            histogram, cumulative, magnitude = axes[3 * row : 3 * row + 3]
            histogram.set(xlabel=f"error of {quantity.name} ({quantity.error_unit})", ylabel="count")
            absolute = f"absolute error of {quantity.name} ({quantity.error_unit})"
            cumulative.set(xlabel=absolute, ylabel="share with a smaller error (%)")
            magnitude.set(
                xlabel=f"reference {quantity.label} ({quantity.unit})", ylabel=f"error ({quantity.error_unit})"
            )
            _histogram(histogram, quantity, category)
            _cumulative(cumulative, quantity, category)
            _over_labels(magnitude, quantity, category)
    return path


def force_directions(reference: Array, predicted: Array, path: Path) -> Path:
    """Angles between predicted and reference forces: over the size of the force, and their distribution.

    Args:
        reference: [n, 3] eV/Angstrom.
        predicted: [n, 3].
        path: of the PNG.

    Forces of no length have no direction and are left out; there must be others.
    """
    from equinet.training.report.density import draw_points

    size, angle = np.linalg.norm(reference, axis=1), angles(reference, predicted)
    known = np.isfinite(angle)
    size, angle = size[known], angle[known]
    with figure(path, 2, width=4.6) as (over_size, distribution):
        over_size.set(xlabel="size of the reference force (eV/Å)", ylabel="angle between forces (degrees)")
        distribution.set(xlabel="angle between forces (degrees)", ylabel="share with a smaller angle (%)")
        size = np.maximum(size, _floor(size))
        over_size.set(
            xscale="log", xlim=(size.min() / 1.2, size.max() * 1.2), ylim=(0.0, 1.05 * max(angle.max(), 1e-6))
        )
        _plain_ticks(over_size.xaxis)
        draw_points(over_size, size, angle, np.zeros(len(size), dtype=np.int64))
        if _running(over_size, size, angle):
            over_size.legend(loc="upper right")
        strong = size > np.median(size)
        for chosen, label, color in ((strong, "stronger half of the forces", BLUE), (~strong, "weaker half", ORANGE)):
            if chosen.any():
                shares = np.linspace(0.0, 100.0, 401)
                distribution.plot(np.percentile(angle[chosen], shares), shares, color=color, label=label)
        distribution.set(ylim=(0.0, 100.0), xlim=(0.0, None))
        distribution.legend(loc="lower right")
    return path


def _legend(ax: Any, quantity: Quantity, category: str, corner: str = "upper left") -> None:
    """Colours of the categories, where there are several."""
    from matplotlib.lines import Line2D

    from equinet.training.report.density import color_of

    names = quantity.categories[category].names
    if len(names) > 1:
        marks = [
            Line2D([], [], linestyle="", marker="o", markersize=4, color=color_of(k), label=_short(name))
            for k, name in names.items()
        ]
        ax.legend(handles=marks, loc=corner, fontsize=7, handletextpad=0.1, borderaxespad=0.2, labelspacing=0.25)


def _short(name: str) -> str:
    """A name that fits a legend; no mathematics in it, whatever it holds."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    return (text if len(text) <= 24 else f"{text[:11]}…{text[-12:]}").replace("$", r"\$")


def _each(quantity: Quantity, category: str) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Name, colour and members of each category."""
    from equinet.training.report.density import color_of

    categories = quantity.categories[category]
    return [(_short(name), color_of(k), categories.index == k) for k, name in categories.names.items()]


def _histogram(ax: Any, quantity: Quantity, category: str) -> None:
    errors = quantity.errors
    widest = max(float(np.abs(errors).max()), 1e-9)
    edges = np.linspace(-widest, widest, 102 if len(errors) > 1000 else 42)
    highest = 0
    for name, color, chosen in _each(quantity, category):
        counts, _ = np.histogram(errors[chosen], edges)
        highest = max(highest, int(counts.max()))
        ax.stairs(counts, edges, color=color, label=name, linewidth=1.1)
    ax.set_xlim(-widest, widest)
    if highest >= 30:
        ax.set(yscale="log", ylim=(0.7, None))
        _plain_ticks(ax.yaxis)
    else:
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.axvline(0.0, color=GREY, linewidth=0.6, zorder=1)


def _cumulative(ax: Any, quantity: Quantity, category: str) -> None:
    shares = np.linspace(0.0, 100.0, 401)
    floor = _floor(np.abs(quantity.errors))
    for name, color, chosen in _each(quantity, category):
        values = np.percentile(np.abs(quantity.errors[chosen]), shares, method="inverted_cdf")
        ax.plot(np.maximum(values, floor), shares, color=color, label=name)
    ax.set(xscale="log", ylim=(0.0, 100.0))
    _plain_ticks(ax.xaxis)
    if len(quantity.categories[category].names) > 1:
        ax.legend(fontsize=7, loc="upper left", labelspacing=0.25, handlelength=1.0)


def _over_labels(ax: Any, quantity: Quantity, category: str) -> None:
    """Absolute errors over the label; over its size, on a logarithmic axis, where its sign means a direction."""
    from equinet.training.report.density import draw_points

    errors = np.abs(quantity.errors)
    top = max(float(errors.max()), 1e-9)
    errors = np.maximum(errors, _floor(errors))
    labels = quantity.reference
    directed = quantity.name != "energy" and np.abs(labels).max() > 0
    if directed:
        labels = np.maximum(np.abs(labels), _floor(np.abs(labels)))
        ax.set(xscale="log", xlim=(labels.min() / 1.2, labels.max() * 1.2))
        _plain_ticks(ax.xaxis)
        ax.set_xlabel(f"size of reference {quantity.label} ({quantity.unit})")
    else:
        margin = 0.04 * float(np.ptp(labels)) or 0.01
        ax.set_xlim(labels.min() - margin, labels.max() + margin)
    ax.set(yscale="log", ylim=(errors.min() / 1.5, top * 1.5))
    draw_points(ax, labels, errors, quantity.categories[category].index)
    _running(ax, labels, errors)
    _plain_ticks(ax.yaxis)


def _floor(sizes: Array) -> float:
    """Where a logarithmic axis starts: smaller values, one in a hundred or zero by symmetry, are drawn at its edge."""
    return max(float(np.percentile(sizes, 1.0)), 1e-5 * float(sizes.max()), 1e-9)


def _running(ax: Any, x: Array, y: Array, bins: int = 16) -> bool:
    """Median and 95th percentile of y within bins of x that hold twenty points or more; whether two in a row do."""
    low, high = float(x.min()), float(x.max())
    if low == high:
        return False
    edges = np.geomspace(low, high, bins + 1) if ax.get_xscale() == "log" else np.linspace(low, high, bins + 1)
    place = np.clip(np.digitize(x, edges) - 1, 0, bins - 1)
    full = np.bincount(place, minlength=bins) >= 20
    if not (full[1:] & full[:-1]).any():
        return False
    bounds = [np.percentile(y[place == k], (50.0, 95.0)) if full[k] else (np.nan, np.nan) for k in range(bins)]
    median, most = np.array(bounds).T  # lines break where bins hold too few
    centers = 0.5 * (edges[1:] + edges[:-1])
    ax.plot(centers, median, color="black", linewidth=1.2, zorder=3, label="median")
    ax.plot(centers, most, color="black", linewidth=1.0, linestyle="--", zorder=3, label="95 % are below")
    return True


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
