"""The folder of a test report: page, figures, tables, errors, worst structures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equinet.files import replacing
from equinet.models import Potential
from equinet.training.evaluation import FramePrediction
from equinet.training.report.figures import error_distributions, force_directions, parity_by
from equinet.training.report.page import Picture, Section, digits, render_page
from equinet.training.report.quantities import Quantity, angles, force_vectors, quantities
from equinet.training.report.results import Results
from equinet.training.report.run import learning_curve
from equinet.training.report.tables import latex_table, markdown_table
from equinet.training.report.worst import worst_frames, write_worst

ERRORS = "errors.json"
"""Name of the file of errors; model cards look for it."""
NATURE = {"data set": "data sets", "group": "groups", "element": "elements"}


def write_test_report(
    folder: Path,
    results: Results,
    potential: Potential,
    worst_count: int = 20,
    history: Sequence[Mapping[str, float]] = (),
    sections: Sequence[Section] = (),
) -> Path:
    """Write a test report.

    Args:
        folder: exists; files of an earlier report in it are replaced.
        results: of the test.
        potential: whose results they are.
        worst_count: structures to show by each measure.
        history: rows of the run's ``metrics.csv``, where there is one.
        sections: more of the page.

    Returns:
        The page, ``index.html``.

    Raises:
        InputError: a file cannot be written.
    """
    values = quantities(results.data_sets, _isolated_energies(potential), results.by)
    worst = worst_frames(results.data_sets, worst_count, potential.cutoff)
    reference, predicted = force_vectors(results.data_sets)
    pictures = _pictures(folder, results, values, reference, predicted, history)
    page = render_page(results, values, pictures, worst, sections)
    write_worst(worst, folder / "worst.extxyz")
    for name, text in (
        (ERRORS, json.dumps(results.to_json(), indent=2) + "\n"),
        ("table.md", markdown_table(results)),
        ("table.tex", latex_table(results)),
        ("index.html", page),
    ):
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "index.html"


def _isolated_energies(potential: Potential) -> Callable[[FramePrediction], float]:
    """A function that gives the sum of the isolated atoms' energies of a frame, eV."""
    energies = dict(zip(potential.species, potential.isolated_energies.tolist(), strict=True))
    return lambda frame: float(sum(energies[z] for z in frame.record.numbers.tolist()))


def _main_category(results: Results, values: Sequence[Quantity]) -> str:
    """What tells most: data sets where there are several, else groups that the palette has colours for."""
    if len(results.data_sets) == 1 and any(len(q.categories["group"].names) > 1 for q in values):
        return "group"
    return "data set"


def _pictures(
    folder: Path, results: Results, values: Sequence[Quantity], reference: Any, predicted: Any, history: Any
) -> dict[str, list[Picture]]:
    main = _main_category(results, values)
    labelled = [quantity for quantity in values if quantity.reference.size]
    of_elements = [quantity for quantity in labelled if len(quantity.categories["element"].names) > 1]
    colored = f", in the colours of {NATURE[main]}" if any(len(q.categories[main].names) > 1 for q in values) else ""
    pictures = {
        "parity": [
            Picture(
                parity_by(labelled, main, folder / "parity.png"),
                f"Energies are relative to the isolated atoms of the model{colored}.",
                "Predicted against reference energies, forces and stresses",
            )
        ],
        "distributions": [
            Picture(
                error_distributions(labelled, main, folder / "errors.png"),
                "Errors are predicted minus reference. Right: black lines are the median and, dashed, the bound "
                "below which 95 % lie.",
                "Histograms, cumulative distributions, and errors over labels",
            )
        ],
    }
    if of_elements:
        pictures["parity"].append(
            Picture(
                parity_by(of_elements, "element", folder / "parity_elements.png"),
                "Forces in the colours of the atoms' elements, energies and stresses in those of the elements of the "
                "structure.",
                "Predicted against reference, by element",
            )
        )
    if np.isfinite(angles(reference, predicted)).any():
        pictures["directions"] = [
            Picture(
                force_directions(reference, predicted, folder / "directions.png"),
                direction_note(reference, predicted),
                "Angles between predicted and reference forces",
            )
        ]
    if history:
        pictures["training"] = [
            Picture(
                learning_curve(history, folder / "learning_curve.png"),
                "Errors while the model was trained, from metrics.csv beside it: of the training batches with the "
                "weights of the moment, of the validation set with their average.",
                "Loss and errors over the epochs",
            )
        ]
    return pictures


def direction_note(reference: Any, predicted: Any) -> str:
    """The median angle and the mean cosine, of the stronger half of the forces too."""
    angle = angles(reference, predicted)
    known = np.isfinite(angle)
    size = np.linalg.norm(reference, axis=1)
    strong = known & (size >= np.median(size[known]))
    text = "Angles between the predicted and the reference force on each atom. "
    text += f"Median {digits(np.median(angle[known]))}°, mean cosine {np.cos(np.radians(angle[known])).mean():.4f}"
    text += f"; for forces above the median of {digits(np.median(size[known]))} eV/Å: "
    text += f"{digits(np.median(angle[strong]))}°, "
    text += f"{np.cos(np.radians(angle[strong])).mean():.4f}."
    if not known.all():
        text += f" {int((~known).sum())} atoms whose force is zero, by symmetry or by rounding, have no direction."
    return text
