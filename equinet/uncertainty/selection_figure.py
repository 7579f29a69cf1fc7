"""The figure of a selection: where the chosen frames lie among the candidates, and what each added."""

from pathlib import Path

import numpy as np

from equinet.training.report.style import BLUE, GREY, ORANGE, figure, plain_log_scale
from equinet.uncertainty.selection import Selection


def draw_selection(selection: Selection, path: Path) -> Path:
    """Error bars over supports of all candidates, and distance and error bar of the chosen in their order.

    Args:
        selection: with one frame at least.
        path: of the PNG.
    """
    candidates = selection.candidates
    rows = np.array([each.row for each in selection.chosen])
    std, support = candidates.forces_std_max, candidates.support_max
    order = np.arange(1, len(rows) + 1)
    with figure(path, 2, width=3.6) as (where, added):
        where.scatter(support, std, s=6, color=GREY, alpha=0.4, linewidths=0, label=f"{len(std)} candidates")
        where.scatter(support[rows], std[rows], s=16, color=BLUE, label=f"{len(rows)} chosen")
        where.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
        where.set_xscale("log")
        plain_log_scale(where)
        where.set(xlabel="largest support (above 1: outside)", ylabel="largest error bar of a force (eV/Å)")
        where.legend(loc="lower right", fontsize=7)
        added.plot(order, std[rows], color=BLUE, marker="o", markersize=3, label="largest error bar of a force (eV/Å)")
        distance = np.array([each.distance for each in selection.chosen])
        known = np.isfinite(distance)
        label = "distance to the nearest labelled or chosen"
        added.plot(order[known], distance[known], color=ORANGE, marker="s", markersize=3, label=label)
        added.set(xlabel="order of the choice", ylim=(0.0, None))
        added.legend(loc="upper right", fontsize=7)
    return path
