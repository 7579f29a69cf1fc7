"""The page of a test report: one HTML file with everything in it, for any browser, without a network."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from equinet.training.report.quantities import Quantity
from equinet.training.report.results import DataSet, Results
from equinet.training.report.tables import MEASURES, QUANTITIES, columns, counted, error_rows, one_line
from equinet.training.report.worst import UNITS, WorstFrame

SHARES = {"median": 50, "90 %": 90, "95 %": 95, "99 %": 99, "largest": 100}
"""Columns of the table of quantiles: per cent of the errors that are no larger."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page: a PNG file beside it, which the page holds too."""

    path: Path
    caption: str
    alt: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def uri(self) -> str:
        """The image itself, as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")

    @property
    def width(self) -> int:
        """Pixels."""
        return int.from_bytes(self.path.read_bytes()[16:20], "big")  # of the PNG's header

    @property
    def height(self) -> int:
        """Pixels."""
        return int.from_bytes(self.path.read_bytes()[20:24], "big")


@dataclass(frozen=True)
class Section:
    """A section of the page that comes from elsewhere: a table, a note and figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    pictures: Sequence[Picture]


def render_page(
    results: Results,
    quantities: Sequence[Quantity],
    pictures: Mapping[str, Sequence[Picture]],
    worst: Mapping[str, Sequence[WorstFrame]],
    sections: Sequence[Section] = (),
) -> str:
    """The page as text.

    Args:
        results: of the test.
        quantities: what the figures were drawn of.
        pictures: by section: "parity", "distributions", "directions", "training".
        worst: structures by reason.
        sections: what else there is to tell.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = resources.files("equinet.training.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {
        "count": _count,
        "digits": digits,
        "exact": repr,
        "labels": _labels,
        "relative": _relative,
        "source": _source,
    }
    rows = error_rows(results)
    names = list(dict.fromkeys(name for name, _, _ in columns(rows)))
    return environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8")).render(
        title=one_line("/".join(Path(results.model.file).parts[-2:])),
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        results=results,
        summary=_summary(results),
        rows=rows,
        grouped=any(row.group for row in rows),
        counted=counted(rows),
        quantity_names=names,
        units={name: unit for name, (_, unit) in QUANTITIES.items()},
        headline=[(name, MEASURES[0], unit) for name, (_, unit) in QUANTITIES.items()],
        figures={
            section: pictures.get(section, ()) for section in ("parity", "distributions", "directions", "training")
        },
        shares=list(SHARES),
        quantiles=[(f"{q.name.capitalize()}, {q.error_unit}", _quantiles(q)) for q in quantities if q.reference.size],
        unlabelled=[q.name.capitalize() for q in quantities if not q.reference.size],
        elements=list(results.together.per_element.items()),
        worst=worst,
        worst_units=UNITS,
        sections=sections,
    )


def digits(value: float, least: float | None = None) -> str:
    """Three significant digits without exponents, or none behind the point where the number is large.

    Args:
        value: the number.
        least: another number, below whose three digits nothing is shown.
    """
    size = abs(value) if least is None else max(abs(value), abs(least))
    if size == 0 or not math.isfinite(size):
        return f"{value:g}"
    text = f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.removeprefix("-")


def _count(number: int) -> str:
    """Thousands set apart by a narrow space."""
    return f"{number:,}".replace(",", "\u202f")


def _summary(results: Results) -> str:
    data = ", ".join(data_set.name for data_set in results.data_sets)
    frames, atoms = results.together.frames, results.together.atoms
    elements = len(results.model.species)
    return (
        f"{results.model.architecture}, {elements} element{'s' * (elements != 1)}, on {_count(frames)} "
        f"structure{'s' * (frames != 1)} ({_count(atoms)} atoms) of {data}; {results.date[:10]}, equinet "
        f"{results.versions.get('equinet', '')}."
    )


def _quantiles(quantity: Quantity) -> list[float]:
    errors = quantity.errors
    return [*np.percentile(np.abs(errors), list(SHARES.values())).tolist(), float(errors.mean())]


def _labels(data_set: DataSet) -> str:
    """How many frames have which label, and the key it was read from."""
    keys, counts = data_set.reading.keys, data_set.evaluation.counts
    found = {"energy": keys.energy, "forces": keys.forces, "stress": keys.stress or keys.virial}
    parts = [f"{name} {counts[name]} ({key})" if counts[name] else f"no {name}" for name, key in found.items()]
    return ", ".join(parts)


def _relative(errors: Mapping[str, Any]) -> str:
    rms = errors["force_rms_mev_per_angstrom"]
    return f"{100 * errors['force_rmse_mev_per_angstrom'] / rms:.1f} %" if rms > 0 else ""


def _source(source: str) -> str:
    """A frame's source without the folders of its file."""
    return one_line(source).rpartition("/")[2]
