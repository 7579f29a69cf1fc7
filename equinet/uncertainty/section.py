"""What a test says of an uncertainty: tables for the terminal and the report."""

from collections.abc import Mapping
from pathlib import Path

from equinet.training.report.page import Picture, Section, digits
from equinet.uncertainty.figure import LABELS, SIGMA, draw_reliability
from equinet.uncertainty.judge import OUTSIDE, Judgement, Verdict
from equinet.uncertainty.scores import Scores

COLUMNS = ("RMSE", "CRPS", "within 68 %", "within 95 %", "miscal.", "10 % out", "20 % out", "AUROC")
"""Of a table: rmse, score, coverage, miscalibration, rmse when the largest sigma are rejected, ranking."""
HEADER = ("Data set", "Quantity", "Error bar", *COLUMNS)


def tables(name: str, verdict: Verdict) -> dict[str, list[list[str]]]:
    """For each quantity rows of the method and COLUMNS, by their heading."""
    return {
        f"{name}: {quantity}, {judgement.unit}": [
            [LABELS.get(method, method), *_cells(scores)] for method, scores in judgement.methods.items()
        ]
        for quantity, judgement in (("energy", verdict.energy), ("force components", verdict.forces))
        if judgement is not None
    }


def _cells(scores: Scores) -> list[str]:
    left = [digits(value) for value in scores.rmse_without_worst.values()]
    return [
        digits(scores.rmse),
        digits(scores.crps),
        _share(scores.coverage_68, scores.coverage_68_ci95),
        _share(scores.coverage_95, scores.coverage_95_ci95),
        f"{scores.miscalibration:.3f}",
        *left,
        "" if scores.auroc_outside is None else f"{scores.auroc_outside:.2f}",
    ]


def _share(share: float, interval: tuple[float, float] | None) -> str:
    text = f"{100 * share:.0f} %"
    return text if interval is None else f"{text} ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def support_lines(name: str, verdict: Verdict) -> list[str]:
    """What the support found, and frames that are no test."""
    lines = []
    for quantity, judgement in (("energies", verdict.energy), ("atoms' forces", verdict.forces)):
        if judgement is not None:
            lines.append(f"{name}, {quantity}: {_support(judgement)}")
    if verdict.frames_used_before:
        lines.append(
            f"{name}: {verdict.frames_used_before} of {verdict.frames} frames are training or calibration frames of "
            "the uncertainty; on them errors and error bars are not those of new frames"
        )
    return lines


def _support(judgement: Judgement) -> str:
    found = judgement.outside_by_support["errors_found"]
    text = f"{100 * judgement.outside:.1f} % of the errors are over {OUTSIDE:g} times those of the calibration set"
    text += f"; a support above 1 marks {100 * (judgement.outside_by_support['flagged'] or 0.0):.1f} % of all"
    if found is not None and judgement.auroc_support is not None:
        text += f" and {100 * found:.0f} % of these (AUROC of the support {judgement.auroc_support:.2f})"
    return text


def report_section(verdicts: Mapping[str, Verdict], folder: Path) -> Section:
    """The section of the report, its figures drawn into the folder."""
    pictures = []
    for number, (name, verdict) in enumerate(verdicts.items()):
        file = "reliability.png" if len(verdicts) == 1 else f"reliability-{number + 1}.png"
        pictures.append(
            Picture(
                draw_reliability(verdict, folder / file),
                f"{name}: rmse in bins of predicted {SIGMA}, on the line if right; errors within intervals of any "
                f"level; rmse left when the values with the largest {SIGMA} are left out.",
                "Reliability of the error bars",
            )
        )
    kind = next(iter(verdicts.values())).kind
    errors = "the mean of the committee's members" if kind == "committee" else "the model"
    note = (
        f"Error bars by {kind}, errors of {errors}. Beside {SIGMA} stand three that cost nothing, calibrated on the "
        "same frames: a constant, the size of the predicted force, the distance to the nearest training atom. CRPS, "
        "the continuous ranked probability score, is smaller the better; within 68 %: errors within the interval that "
        "shall hold so many; miscalibration: how far all such shares are off, on average; 10 % out: rmse without the "
        f"values of the largest error bars; AUROC: how well errors over {OUTSIDE:g} times the calibration set's are "
        "ranked above the others. In brackets: 95 % intervals over frames. "
    )
    rows, lines = [], []
    for name, verdict in verdicts.items():
        for heading, of_method in tables(name, verdict).items():
            quantity = heading.removeprefix(f"{name}: ")
            rows += [[name, quantity, *row] for row in of_method]
        lines += support_lines(name, verdict)
    return Section("Error bars", HEADER, rows, note + " ".join(f"{line}." for line in lines), pictures)
