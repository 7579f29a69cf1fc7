"""The reliability figure: errors over the standard deviations predicted for them, coverage, and rejection."""

from pathlib import Path
from typing import Any

import numpy as np

from equinet.training.report.style import BLUE, GREY, PALETTE, figure
from equinet.uncertainty.judge import Judgement, Verdict
from equinet.uncertainty.scores import CURVE

NAMES = {"meV/atom": ("energies", "meV/atom"), "meV/A": ("force components", "meV/Å")}
COLORS = dict(zip(("sigma", "constant", "force size", "neighbour distance"), (BLUE, GREY, *PALETTE[1:3]), strict=True))
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
LABELS = {"sigma": SIGMA}


def draw_reliability(verdict: Verdict, path: Path) -> Path:
    """Of energies and forces a row: rmse in bins of sigma, coverage of intervals of all levels, rmse after rejection.

    Args:
        verdict: on a set of frames.
        path: of the PNG.
    """
    judged = [judgement for judgement in (verdict.energy, verdict.forces) if judgement is not None]
    with figure(path, 3, len(judged)) as axes:
        for row, judgement in enumerate(judged):
            bins, coverage, rejection = axes[3 * row : 3 * row + 3]
            _bins(bins, judgement)
            _coverage(coverage, judgement)
            _rejection(rejection, judgement)
            if row == 0:
                coverage.legend(loc="upper left", fontsize=7)
    return path


def _bins(ax: Any, judgement: Judgement) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    name, unit = NAMES[judgement.unit]
    bins = judgement.methods["sigma"].bins
    x, y = np.array([each.sigma for each in bins]), np.array([each.rmse for each in bins])
    spans = np.array([each.rmse_ci95 or (each.rmse, each.rmse) for each in bins])
    low, high = 0.8 * min(x.min(), spans.min()), 1.25 * max(x.max(), spans.max())
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
    bars = np.maximum([y - spans[:, 0], spans[:, 1] - y], 0.0)
    ax.errorbar(x, y, yerr=bars, color=BLUE, fmt="o", markersize=4, linewidth=1, capsize=2)
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    ax.set(xlabel=f"predicted {SIGMA} of {name} ({unit})", ylabel=f"rmse of bin ({unit})")
    ax.set_aspect("equal", adjustable="box")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", length=0)


def _coverage(ax: Any, judgement: Judgement) -> None:
    name, _ = NAMES[judgement.unit]
    percent = 100.0 * np.array(CURVE)
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    for method, scores in judgement.methods.items():
        covered = 100.0 * np.array(scores.covered)
        ax.plot(percent, covered, color=COLORS[method], label=LABELS.get(method, method))
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel=f"level of the interval, {name} (%)", ylabel="errors within it (%)")
    ax.set_aspect("equal", adjustable="box")


def _rejection(ax: Any, judgement: Judgement) -> None:
    name, unit = NAMES[judgement.unit]
    rejected = 100.0 * np.array([0.0, *CURVE])
    for method, scores in judgement.methods.items():
        left = [scores.rmse, *scores.left]
        ax.plot(rejected, left, color=COLORS[method], label=LABELS.get(method, method))
    best = [judgement.methods["sigma"].rmse, *judgement.best_left]
    (line,) = ax.plot(rejected, best, color=GREY, linestyle="--")
    ax.legend([line], ["largest errors rejected"], loc="lower left", fontsize=7)
    ax.set(xlim=(0, 100), ylim=(0, None))
    ax.set(xlabel=f"largest {SIGMA} rejected (%)", ylabel=f"rmse of {name} left ({unit})")
