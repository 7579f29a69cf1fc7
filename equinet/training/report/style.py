"""How the figures of reports look: one style, one palette, PNG files."""

from pathlib import Path
from typing import Any

from equinet.files import replacing

STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
BLUE, ORANGE, GREY = "#1f5fa8", "#d9772b", "#777777"
PALETTE = (BLUE, ORANGE, "#2a8f6a", "#b0405a", "#7d5fb0", "#3f9fc0", "#8c6b3f", "#c95fa0")
"""Colours of categories, told apart by people who do not see red and green alike; more categories share a grey."""


def plain_log_scale(axis: Any) -> None:
    """A logarithmic y axis with ticks at 1, 2, 5 times powers of ten, written as plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())


class figure:  # noqa: N801 (a context manager)
    """A grid of panels in the house style, written as PNG when the context ends; gives the panels row by row."""

    def __init__(self, path: Path, columns: int, rows: int = 1, width: float = 3.1, height: float = 2.9) -> None:
        self.path = path
        self.columns = columns
        self.rows = rows
        self.size = (width * columns + 0.4, height * rows)

    def __enter__(self) -> list[Any]:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._style = mpl.rc_context(STYLE)  # type: ignore[arg-type]
        self._style.__enter__()
        self.figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasAgg(self.figure)
        return list(self.figure.subplots(self.rows, self.columns, squeeze=False).flat)

    def __exit__(self, *exception: Any) -> None:
        try:
            if exception[0] is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as partial:
                    self.figure.savefig(partial, format="png")
        finally:
            self._style.__exit__(*exception)
