"""The figure of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from equinet.bench.comparison import Cost
from equinet.files import replacing

COLORS = {"equinet": "#1f5fa8", "sevennet": "#c44e52", "mace": "#dd8452", "nequip": "#8172b3"}
PARTS = {"model": "#1f5fa8", "neighbor_list": "#8fbce6", "overhead": "#d9d9d9"}


def draw(costs: Mapping[str, Sequence[Cost]], timestep: float, title: str, path: Path) -> None:
    """Time of a step, its parts and the memory, over the number of atoms.

    Args:
        costs: by package; the first is ours.
        timestep: fs.
        title: of the figure.
        path: a .png, .pdf or .svg file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:,g}")

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    times, parts, memory = figure.subplots(1, 3)
    for package, rows in costs.items():
        atoms = [row.atoms for row in rows]
        style = {"marker": "o", "color": COLORS[package], "label": package}
        times.plot(atoms, [1e3 * row.step for row in rows], **style)
        memory.plot(atoms, [row.memory for row in rows], **style)
    ours, *others = costs.values()
    for rows in others:
        step = {row.atoms: row.step for row in ours}
        for row in rows:
            ratio = f"{row.step / step[row.atoms]:.0f}x"
            times.annotate(ratio, (row.atoms, 1e3 * row.step), (0, 5), textcoords="offset points", ha="center")
    for axes, label in ((times, "ms per step"), (memory, "peak memory, MiB")):
        axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel=label)
        axes.set_xticks([row.atoms for row in ours], [f"{row.atoms:,}" for row in ours])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(plain if max(axes.get_ylim()) < 10 * min(axes.get_ylim()) else NullFormatter())
        axes.margins(y=0.15)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    labels = [f"{row.atoms:,}\n{row.ns_per_day(timestep):.3g} ns/day" for row in ours]
    bottom = [0.0] * len(ours)
    for part, color in PARTS.items():
        shares = [100 * getattr(row, part) / row.step for row in ours]
        parts.bar(labels, shares, 0.6, bottom=bottom, color=color, label=part.replace("neighbor_", "neighbour "))
        bottom = [a + b for a, b in zip(bottom, shares, strict=True)]
    parts.set(ylabel="% of a step of equinet", xlabel="atoms", ylim=(0, 118))
    parts.legend(ncols=3, frameon=False, loc="upper center", fontsize=8)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix[1:])
