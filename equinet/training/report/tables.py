"""Tables of errors: rows of data sets and groups, the same for the page, Markdown and LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from equinet.training.evaluation import Evaluation
from equinet.training.report.results import Results

QUANTITIES = {
    "Energy": ("energy_{}_mev_per_atom", "meV/atom"),
    "Forces": ("force_{}_mev_per_angstrom", "meV/Å"),
    "Stress": ("stress_{}_gpa", "GPa"),
}
"""What a table shows: keys of :class:`Evaluation` and units."""
MEASURES = ("mae", "rmse")
TOGETHER = "all together"
EN_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One number with its 95 % interval, which may be missing, as numbers and as text."""

    value: float
    interval: tuple[float, float] | None
    decimals: int

    @property
    def text(self) -> str:
        """The number."""
        return f"{self.value:.{self.decimals}f}"

    @property
    def interval_text(self) -> str:
        """Both bounds; empty where there is none."""
        if self.interval is None:
            return ""
        return EN_DASH.join(f"{bound:.{self.decimals}f}" for bound in self.interval)


@dataclass(frozen=True)
class Row:
    """A data set, or a group of one: empty where it is the data set as a whole."""

    data_set: str
    group: str
    frames: int
    atoms: int
    labelled: dict[str, int]  # frames that have a label, by quantity
    cells: dict[str, dict[str, Cell | None]]  # by quantity and measure; None without labels


def error_rows(results: Results) -> list[Row]:
    """All together, where there are several data sets; each data set, and its groups below it."""
    found: list[tuple[str, str, Evaluation]] = []
    if len(results.data_sets) > 1:
        found.append((TOGETHER, "", results.together))
    for data_set in results.data_sets:
        found.append((data_set.name, "", data_set.evaluation))
        found += [(data_set.name, name, group) for name, group in data_set.evaluation.groups.items()]
    decimals = {
        (key, measure): _decimals([e.errors[key.format(measure)] for *_, e in found if key.format(measure) in e.errors])
        for key, _ in QUANTITIES.values()
        for measure in MEASURES
    }
    return [
        Row(
            data_set,
            group,
            evaluation.frames,
            evaluation.atoms,
            {name: evaluation.counts[name.lower()] for name in QUANTITIES},
            {
                name: {m: _cell(evaluation, key.format(m), decimals[key, m]) for m in MEASURES}
                for name, (key, _) in QUANTITIES.items()
            },
        )
        for data_set, group, evaluation in found
    ]


def _cell(evaluation: Evaluation, key: str, decimals: int) -> Cell | None:
    if key not in evaluation.errors:
        return None
    return Cell(evaluation.errors[key], evaluation.intervals.get(key), decimals)


def _decimals(values: Sequence[float]) -> int:
    """So many that the smallest number of a column has three digits, unless the largest would have more than four."""
    sizes = [abs(value) for value in values if value != 0 and math.isfinite(value)]
    if not sizes:
        return 1
    low, high = (math.floor(math.log10(bound)) for bound in (min(sizes), max(sizes)))
    return max(0, min(2 - low, 3 - high))


def columns(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Quantity, measure and unit of each column of errors that has a number anywhere."""
    return [
        (name, measure, unit)
        for name, (_, unit) in QUANTITIES.items()
        for measure in MEASURES
        if any(row.cells[name][measure] for row in rows)
    ]


def counted(rows: Sequence[Row]) -> list[str]:
    """Quantities with a column of errors that not all frames of each row have labels of: their numbers are told."""
    shown = {name for name, *_ in columns(rows)}
    return [name for name in QUANTITIES if name in shown and any(row.labelled[name] != row.frames for row in rows)]


def markdown_table(results: Results) -> str:
    """GitHub's Markdown, numbers to the right."""
    rows = error_rows(results)
    shown = columns(rows)
    grouped = any(row.group for row in rows)
    head = _heads(rows)
    head += [f"{name} {measure.upper()}, {unit}" for name, measure, unit in shown]
    left = 2 if grouped else 1
    lines = [head, [":--"] * left + ["--:"] * (len(head) - left)]
    for row in rows:
        cells = [markdown(row.data_set), *([markdown(row.group)] if grouped else []), *_counts(row, rows)]
        lines.append(cells + [_plain(row.cells[name][measure]) for name, measure, _ in shown])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def latex_table(results: Results) -> str:
    """A tabular for the package booktabs; intervals in small print beside the numbers."""
    rows = error_rows(results)
    shown = columns(rows)
    grouped = any(row.group for row in rows)
    names = list(dict.fromkeys(name for name, _, _ in shown))
    heads = _heads(rows)
    first = len(heads)
    left = "ll" if grouped else "l"
    spans, rules = [], []
    for number, name in enumerate(names):
        unit = latex(QUANTITIES[name][1])
        spans.append(rf"\multicolumn{{2}}{{c}}{{{name}, {unit}}}")
        rules.append(rf"\cmidrule(lr){{{first + 1 + 2 * number}-{first + 2 + 2 * number}}}")
    lines = [
        "% needs \\usepackage{booktabs}; errors with 95 % intervals (bootstrap over frames)",
        rf"\begin{{tabular}}{{{left}{'r' * (first - len(left) + len(shown))}}}",
        r"\toprule",
        " & ".join([""] * (first - 1) + ["", *spans]) + r" \\",
        " ".join(rules),
        " & ".join([*heads, *(m.upper() for _, m, _ in shown)]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [latex(row.data_set), *([latex(row.group)] if grouped else []), *_counts(row, rows)]
        lines.append(" & ".join(cells + [_latex_cell(row.cells[name][m]) for name, m, _ in shown]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _heads(rows: Sequence[Row]) -> list[str]:
    """Of the columns before the errors."""
    grouped = any(row.group for row in rows)
    with_labels = [f"With {name.lower()}" for name in counted(rows)]
    return ["Data set", *(["Group"] if grouped else []), "Frames", "Atoms", *with_labels]


def _counts(row: Row, rows: Sequence[Row]) -> list[str]:
    return [str(row.frames), str(row.atoms), *(str(row.labelled[name]) for name in counted(rows))]


def _plain(cell: Cell | None) -> str:
    if cell is None:
        return "no labels"
    return f"{cell.text} ({cell.interval_text})" if cell.interval else cell.text


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    interval = cell.interval_text.replace(EN_DASH, "--")
    return rf"{cell.text} {{\scriptsize ({interval})}}" if interval else cell.text


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Å": r"\AA{}",
    EN_DASH: "--",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def latex(text: str) -> str:
    """Text as LaTeX prints it: on one line, nothing in it a command."""
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))


def markdown(text: str) -> str:
    """Text on one line, in which nothing is Markdown or HTML."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)


def one_line(text: str) -> str:
    """Text without what would break a line or hide."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
