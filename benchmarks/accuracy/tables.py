"""Measured rows as Markdown: ours over the seeds, the copy of the nearest training frame, published rows; by group."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.accuracy.errors import SYMMETRIC
from benchmarks.accuracy.rows import Comparison, Row

Values = dict[str, Any]
OURS = "equinet"
COPY = "copy of the nearest training frame"
STILL = "sum over atoms, no forces"
UNITS = {"mev_per_atom": "meV/atom", "mev": "meV"}


def spread(values: Sequence[float | None]) -> str:
    """Mean over the seeds, with the least and the largest where there are several: ``2.9 (2.7 to 3.2)``."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if min(known) == max(known):
        return _number(known[0])
    return f"{_number(mean(known))} ({_number(min(known))} to {_number(max(known))})"


def _number(value: float) -> str:
    """Three significant digits, without exponents where it is large."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def row_page(row: Row, results: Sequence[Values]) -> str:
    """One row's page."""
    parts = [f"# {row.title}", "", _how(row, results), ""]
    for test in row.tests:
        parts += [*_test(row, test, results), ""]
    return "\n".join(parts).rstrip() + "\n"


def overview(results: dict[Row, Sequence[Values]]) -> str:
    """All rows, one line for each test."""
    columns = (
        "Row | Test | Measure | n train | Energy | Forces, meV/Å | Stress, GPa | Copy: E / F | Twins | Seeds | Minutes"
    )
    lines = [f"| {columns} |", "|" + "---|" * 11]
    for row, measured in results.items():
        for test in row.tests:
            ours = [result["tests"][test.name] for result in measured]
            energy, forces, stress = _cells(row, [each["without_twins"] for each in ours])
            copy_energy, copy_forces, _ = _cells(row, [each["copy_of_nearest"]["without_twins"] for each in ours])
            twins = "; ".join(sorted({f"{each['twins']['twins']} of {each['twins']['of_frames']}" for each in ours}))
            minutes = spread([result["training"]["seconds"] / 60 for result in measured])
            cells = [f"[{row.name}]({row.name}.md)", test.name, row.measure.upper(), str(measured[0]["train_frames"])]
            cells += [f"{energy} {UNITS[row.energy]}", forces, stress, f"{copy_energy} / {copy_forces}", twins]
            lines.append(f"| {' | '.join([*cells, str(len(measured)), minutes])} |")
    return "\n".join(lines) + "\n"


def _how(row: Row, results: Sequence[Values]) -> str:
    first = results[0]
    machine = first["machine"]
    frames = f"{first['train_frames']} frames to train on"
    frames += f", {first['validation_frames']} to choose the epoch" if first["validation_frames"] else ""
    frames += f", {first['isolated_atoms']} isolated atoms" if first["isolated_atoms"] else ""
    lines = [
        f"[{row.config}](../../../{row.config}), {frames}; {first['training']['parameters']} weights; seeds "
        f"{', '.join(str(result['seed']) for result in results)}; "
        f"{spread([result['training']['seconds'] / 60 for result in results])} minutes a training, "
        f"{spread([result['training']['epochs'] for result in results])} epochs "
        f"({machine['processor']}, {machine['cores']} cores, device {machine['device']}; {machine['versions']}; commit "
        f"{machine['commit']}).",
        f"{row.measure.upper()}: mean over the seeds, in brackets the least and the largest. {row.note}".rstrip(),
    ]
    return "\n".join(lines)


def _test(row: Row, test: Comparison, results: Sequence[Values]) -> list[str]:
    ours = [result["tests"][test.name] for result in results]
    twins = ours[0]["twins"]
    lines = [f"## Test: {test.name}, {ours[0]['all']['frames']} frames", ""]
    lines += [test.note, ""] if test.note else []
    counts = spread([each["twins"]["twins"] for each in ours])
    lines += [
        f"Test frames whose interatomic distances differ from a training frame's by less than "
        f"{twins['threshold_angstrom']} Å (twins, rms): {counts} of {twins['of_frames']}; half of all are nearer than "
        f"{spread([each['twins']['nearest_angstrom_percentiles'].get('50') for each in ours])} Å.",
        "",
        f"| | Energy, {UNITS[row.energy]} | Forces, meV/Å | Stress, GPa |",
        "|---|---|---|---|",
    ]
    for label, pick in (
        (f"{OURS}, without twins", lambda each: each["without_twins"]),
        (f"{OURS}, all frames", lambda each: each["all"]),
        (f"{COPY}, without twins", lambda each: each["copy_of_nearest"]["without_twins"]),
        (f"{COPY}, all frames", lambda each: each["copy_of_nearest"]["all"]),
        (f"{STILL}, all frames", lambda each: each["atoms_without_forces"]["all"]),
    ):
        lines.append(f"| {label} | " + " | ".join(_cells(row, [pick(each) for each in ours])) + " |")
    for other in test.published:
        stress = "" if other.stress is None else f"{other.stress:g}"
        lines.append(f"| {other.model} ({other.source}) | {other.energy:g} | {other.forces:g} | {stress} |")
    return lines + _groups(row, ours)


def _groups(row: Row, ours: Sequence[Values]) -> list[str]:
    """Groups, those of the headline first; energy differences within them."""
    m = row.measure
    lines = [
        "",
        "| Without twins, by group | Frames | Energy, meV/atom | Energy differences within a group, meV/atom | Forces, "
        "meV/Å | Copy: forces, meV/Å |",
        "|---|---|---|---|---|---|",
    ]

    def line(label: str, found: Sequence[Values | None], copies: Sequence[Values | None]) -> None:
        there = [each for each in found if each]
        if not there:
            return
        cells = [
            spread([each.get(key.format(m)) for each in there])
            for key in (
                "energy_{}_mev_per_atom",
                "energy_difference_{}_mev_per_atom",
                "force_{}_mev_per_angstrom",
            )
        ]
        copied = spread([each.get(f"force_{m}_mev_per_angstrom") for each in copies if each])
        lines.append(f"| {label} | {spread([each['frames'] for each in there])} | {' | '.join(cells)} | {copied} |")

    fresh = [each["without_twins"] for each in ours]
    copies = [each["copy_of_nearest"]["without_twins"] for each in ours]
    headline = f"**moving** (without {', '.join((*row.apart, 'frames' + SYMMETRIC.replace(',', ' of')))})"
    line(headline, [e.get("moving") for e in fresh], [e.get("moving") for e in copies])
    line("all", fresh, copies)
    names = sorted({name for each in fresh for name in each.get("groups", {})} - {"all"})
    names.sort(key=lambda name: name.endswith(SYMMETRIC) or name in row.apart)
    for name in names:
        line(
            name,
            [each.get("groups", {}).get(name) for each in fresh],
            [each.get("groups", {}).get(name) for each in copies],
        )
    return lines


def _cells(row: Row, values: Sequence[Values]) -> tuple[str, str, str]:
    keys = (f"energy_{row.measure}_{row.energy}", f"force_{row.measure}_mev_per_angstrom", f"stress_{row.measure}_gpa")
    energy, forces, stress = (spread([each.get(key) for each in values]) for key in keys)
    return energy, forces, stress
