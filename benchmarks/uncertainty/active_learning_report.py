"""What active learning gave: learning curves with intervals over seeds, differences to random choice, a verdict."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from benchmarks.rows import markdown_table, versions
from equinet.training.report.style import BLUE, GREY, ORANGE, figure

COLORS = {"random": GREY, "farthest": ORANGE, "uncertainty": BLUE}
NAMES = {"random": "random", "farthest": "farthest-point", "uncertainty": "equinet select"}
CONTROL, OURS = "random", "uncertainty"


@dataclass(frozen=True)
class Metric:
    """A number of each model that is judged by."""

    label: str
    path: tuple[str, ...]  # in a result
    better: int  # 1: the larger the better; -1: the smaller
    digits: int = 0

    def of(self, result: Mapping[str, Any]) -> float:
        """Its value."""
        value: Any = result
        for key in self.path:
            value = value[key]
        return float(value)


METRICS = (
    Metric("force MAE, 1000 K (meV/Å)", ("1000K", "force_mae"), -1),
    Metric("99 % of force errors below, 1000 K (meV/Å)", ("1000K", "force_p99"), -1),
    Metric("time before the molecule breaks, 1000 K (ps)", ("stable_ps",), 1, 2),
    Metric("force MAE, 300 K (meV/Å)", ("300K", "force_mae"), -1),
    Metric("energy MAE, 1000 K (meV/atom)", ("1000K", "energy_mae"), -1, 1),
    Metric("force RMSE, 1000 K (meV/Å)", ("1000K", "force_rmse"), -1),
)
JUDGED = METRICS[:3]
"""By which the verdict goes."""


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval over seeds (Student's t); NaN for a single seed."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return mean, mean - half, mean + half


def curve(rows: Sequence[Mapping[str, Any]], strategy: str, metric: Metric) -> dict[int, dict[int, float]]:
    """Values by round and seed."""
    found: dict[int, dict[int, float]] = {}
    for row in rows:
        if row["strategy"] == strategy:
            found.setdefault(row["round"], {})[row["seed"]] = metric.of(row)
    return found


def complete_rounds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows up to the round that most seeds have done with all strategies, the last such one; of these seeds."""
    strategies = {row["strategy"] for row in rows}
    done = {(row["seed"], row["round"], row["strategy"]) for row in rows}
    best: tuple[int, int, set[int]] = (0, 0, set())
    for last in range(1, max((row["round"] for row in rows), default=0) + 1):
        seeds = {
            seed
            for seed in {row["seed"] for row in rows}
            if all((seed, number, strategy) in done for number in range(last + 1) for strategy in strategies)
        }
        best = max(best, (len(seeds), last, seeds), key=lambda each: each[:2])
    return [dict(row) for row in rows if row["seed"] in best[2] and row["round"] <= best[1]]


def difference(rows: Sequence[Mapping[str, Any]], strategy: str, metric: Metric, number: int) -> tuple[float, ...]:
    """Mean and interval of what a strategy gives less what random choice gives, seed by seed, after a round."""
    own, control = curve(rows, strategy, metric)[number], curve(rows, CONTROL, metric)[number]
    return interval([own[seed] - control[seed] for seed in sorted(control)])


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each metric that is judged by: better, worse, or no difference that the seeds show."""
    last = max(row["round"] for row in rows)
    lines = []
    for strategy in NAMES:
        if strategy == CONTROL:
            continue
        for metric in JUDGED:
            mean, low, high = difference(rows, strategy, metric, last)
            control = float(np.mean(list(curve(rows, CONTROL, metric)[last].values())))
            numbers = f"{mean:+.{metric.digits}f} ({low:+.{metric.digits}f} to {high:+.{metric.digits}f})"
            if not low * high > 0.0:
                word = "no difference to random choice that the seeds show"
            else:
                word = "better than random choice" if mean * metric.better > 0 else "worse than random choice"
            lines.append(f"- {NAMES[strategy]}, {metric.label}: {word}: {numbers}, random {control:.{metric.digits}f}")
    return lines


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """In one sentence, what our choice gained over random."""
    last = max(row["round"] for row in rows)
    words = {1: [], 0: [], -1: []}  # type: dict[int, list[str]]
    for metric in JUDGED:
        _, low, high = difference(rows, OURS, metric, last)
        sign = 0 if not low * high > 0.0 else int(np.sign(low)) * metric.better
        words[sign].append(metric.label)
    if not words[1] and not words[-1]:
        return "A null result: after the last round none of the three differs from random choice beyond the seeds."
    text = f"After the last round {NAMES[OURS]} is"
    parts = [(1, "better than"), (-1, "worse than"), (0, "not told from")]
    return text + "; ".join(f" {word} random choice in {', '.join(words[s])}" for s, word in parts if words[s]) + "."


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Learning curves: mean and interval by strategy, metric and round; then differences to random choice."""
    rounds = sorted({row["round"] for row in rows})
    frames = {row["round"]: row["frames"] for row in rows if row["strategy"] == CONTROL}
    columns = {"": "", "strategy": "", **{f"{frames[number]} frames": "" for number in rounds}}
    means, apart = [], []
    for metric in METRICS:
        for strategy in NAMES:
            cells = {number: _cell(interval(list(values.values())), metric.digits)
                     for number, values in curve(rows, strategy, metric).items()}  # fmt: skip
            means.append({"": metric.label, "strategy": NAMES[strategy], **_named(cells, frames)})
            if strategy != CONTROL:
                cells = {n: _cell(difference(rows, strategy, metric, n), metric.digits, "+") for n in rounds[1:]}
                apart.append({"": metric.label, "strategy": NAMES[strategy], **_named(cells, frames)})
    return "\n\n".join(
        [
            markdown_table(means, columns),
            "Differences to random choice, seed by seed:",
            markdown_table(apart, {key: form for key, form in columns.items() if key != f"{frames[0]} frames"}),
        ]
    )


def _named(cells: Mapping[int, str], frames: Mapping[int, int]) -> dict[str, str]:
    return {f"{frames[number]} frames": cell for number, cell in cells.items()}


def _cell(values: Sequence[float], digits: int, sign: str = "") -> str:
    mean, low, high = (format(value, f"{sign}.{digits}f") for value in values)
    return f"{mean} ({low} to {high})"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Learning curves, a panel for each metric; bars are 95 % intervals over the seeds."""
    frames = {row["round"]: row["frames"] for row in rows if row["strategy"] == CONTROL}
    shift = 0.03 * (max(frames.values()) - min(frames.values()))
    with figure(path, 3, 2) as panels:
        for panel, metric in zip(panels, METRICS, strict=True):
            for place, strategy in enumerate(NAMES):
                values = curve(rows, strategy, metric)
                numbers = sorted(values)
                table = np.array([interval(list(values[number].values())) for number in numbers])
                x = np.array([frames[number] for number in numbers]) + (place - 1) * shift
                bars: NDArray[np.float64] = np.abs(table[:, 1:].T - table[:, 0])
                style = {"color": COLORS[strategy], "marker": "o", "markersize": 3.5, "capsize": 2, "elinewidth": 0.9}
                panel.errorbar(x, table[:, 0], yerr=bars, label=NAMES[strategy], **style)
            panel.set(xlabel="frames trained on", xticks=sorted(frames.values()))
            panel.set_title(metric.label, fontsize=8.5)
        panels[0].legend(fontsize=8)


def _setting(protocol: Mapping[str, Any], seeds: int) -> str:
    return (
        "`python benchmarks/uncertainty/active_learning.py`: ethylene glycol, labelled with GFN2-xTB by tblite. "
        f"{protocol['frames']} frames of 300 K train a small NequIP ({protocol['train_steps']} steps; 10 more frames "
        f"calibrate its error bars). {protocol['starts']} trajectories of "
        f"{protocol['md_steps'] * protocol['timestep'] / 1000:g} ps at {protocol['temperature']:g} K, made with the "
        f"model, give the frames to choose from, {protocol['interval'] * protocol['timestep']:g} fs apart, up to where "
        "the molecule breaks: a bond is half an Angstrom off, or there is a new one (neither is ever so in the test "
        f"frames). {protocol['chosen']} are chosen, labelled and added, and training starts anew with as many steps. "
        "Strategies differ in the choice alone, and see the trajectories of their own models. Test frames are the "
        "sample's, 162 of 1000 K and 120 of 300 K, from other trajectories, of GFN2-xTB itself. "
        f"Means and 95 % intervals over {seeds} seeds (Student's t), which vary first frames, weights, "
        "starts and dynamics."
    )


def write_report(protocol: Mapping[str, Any], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """active_learning.md, .json and .png, of the rounds that all strategies and seeds have done."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "active_learning.json").write_text(json.dumps({"protocol": protocol, "rows": rows}, indent=1) + "\n")
    whole = complete_rounds(rows)
    if not whole:
        print("no round is done by all strategies and seeds; nothing to report yet")
        return
    seeds = len({row["seed"] for row in whole})
    last = max(row["round"] for row in whole)
    missing = "" if last == protocol["rounds"] and seeds == protocol["seeds"] else (
        f" Of {protocol['rounds']} rounds and {protocol['seeds']} seeds, {last} and {seeds} are done."
    )  # fmt: skip
    lines = [
        "# Active learning: does it matter which frames are labelled?",
        _setting(protocol, seeds) + missing,
        headline(whole),
        "\n".join(verdict(whole)),
        f"{len(NAMES) - 1} strategies by {len(JUDGED)} numbers, 95 % each: one table in four shows a difference by "
        f"chance. {versions('torch')}, one core.",
        "![Errors and stability over the number of frames trained on](active_learning.png)",
        tables(whole),
    ]
    (folder / "active_learning.md").write_text("\n\n".join(lines) + "\n")
    draw(whole, folder / "active_learning.png")
    print("\n".join([headline(whole), *verdict(whole)]))
