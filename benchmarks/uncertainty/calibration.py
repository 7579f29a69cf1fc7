"""How good error bars are: last layer and committee, on frames like those of training and on hotter ones.

    python benchmarks/uncertainty/calibration.py --data FOLDER --work FOLDER --report benchmarks/reports/uncertainty

FOLDER of the data holds 3bpa/train_300K.extxyz, 3bpa/mixedT_a.extxyz (300, 600 and 1200 K), acac/train_300K.extxyz and
acac/train_600K.extxyz (davkovacs/BOTNet-datasets). Of each molecule's 300 K frames 300 train a committee, 100 calibrate
and 100 judge; the hotter file judges too, as a set outside the training data. The three sets have no frame in common.
What is in the work folder already is not trained again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ase.io
import numpy as np
import torch

from equinet.data import Record, read_records
from equinet.models import Potential, load_model
from equinet.uncertainty import FitSettings, Uncertainty, Verdict, fit_uncertainty, judge, save_uncertainty
from equinet.uncertainty.figure import draw_reliability


@dataclass(frozen=True)
class Molecule:
    """Files that training, calibration and judgement take, below the folder of the data.

    Attributes:
        training: of 300 K; divided into PARTS.
        hotter: judges.
        another: a molecule of the same elements, at another level of theory: judges forces alone.
    """

    training: str
    hotter: str
    another: str | None = None


MOLECULES = {
    "3bpa": Molecule("3bpa/train_300K.extxyz", "3bpa/mixedT_a.extxyz", another="acac/train_300K.extxyz"),
    "acac": Molecule("acac/train_300K.extxyz", "acac/train_600K.extxyz"),
}
PARTS = {"train": 300, "calibrate": 100, "judge": 100}
OPTIONS = {
    "model.architecture.layers": 3,
    "model.architecture.l_max": 1,
    "model.architecture.channels": 24,
    "model.architecture.cutoff": 4.5,
    "model.loss.forces": 100,
    "model.optimizer.lr": 0.02,
    "trainer.accelerator": "cpu",
}
"""What differs from configs/molecule.yaml: networks that train in minutes. Errors are larger than they could be, and
whether error bars know that is what is looked at."""


COLUMNS = (
    "Judged on",
    "Unit",
    "Error bar",
    "RMSE",
    "CRPS",
    "within 68 %",
    "within 95 %",
    "miscal.",
    "10 / 20 % out",
    "AUROC",
)
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
PREFACE = """# How good error bars are

`python benchmarks/uncertainty/calibration.py` trains four small networks on 300 frames of a molecule at 300 K,
calibrates on 100 others and judges on 100 more ("300 K") and on hotter ones ("hot"; 3BPA: 300 to 1200 K,
acetylacetone: 600 K); networks of 3BPA also on acetylacetone at 300 K ("another"; forces alone, since the levels of
theory differ). Frames are disjoint. Errors are large because the networks are small and trained for minutes; whether
error bars know is the question.

RMSE and CRPS (smaller is better) in the unit; share of errors within the 68 % and 95 % intervals, in brackets 95 %
intervals over frames; miscalibration: mean distance of all such shares from their levels; rmse left without the 10 and
20 % of the largest error bars; AUROC of the error bar for errors over three times those of the calibration set. A
constant, the size of the force and the distance to the nearest training atom are calibrated on the same frames. That
last-layer variances grow with the distance to the training data was decided on 3BPA, on these sets; acetylacetone had
no part in it.
"""


def split(data: Path, molecule: str, work: Path) -> None:
    """Write the disjoint parts of the 300 K frames."""
    frames = ase.io.read(data / MOLECULES[molecule].training, ":")
    order = np.random.default_rng(0).permutation(len(frames))
    start = 0
    for name, count in PARTS.items():
        chosen = sorted(order[start : start + count])
        ase.io.write(work / f"{name}.extxyz", [frames[number] for number in chosen])
        start += count


def train(work: Path, members: int, epochs: int) -> list[Path]:
    """The committee's models."""
    models = [work / "committee" / f"member-{number + 1}" / "model.safetensors" for number in range(members)]
    if not all(model.is_file() for model in models):
        options = [str(part) for key, value in OPTIONS.items() for part in (f"--{key}", value)]
        config = Path(__file__).resolve().parents[2] / "configs" / "molecule.yaml"
        command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(config), "--committee", str(members)]
        command += ["--data.train_path", str(work / "train.extxyz"), "--run_dir", str(work / "committee")]
        subprocess.run([*command, "--trainer.max_epochs", str(epochs), "--resume", "auto", *options], check=True)
    return models


def judging_sets(data: Path, molecule: str, work: Path) -> dict[str, Sequence[Record]]:
    """By the name of the page."""
    files = MOLECULES[molecule]
    sets = {
        "300 K": read_records(work / "judge.extxyz").records,
        "hot": read_records(data / files.hotter).records,
    }
    if files.another is not None:
        sets["another"] = [replace(record, energy=None) for record in read_records(data / files.another).records]
    return sets


def measure(
    uncertainty: Uncertainty, judged: dict[str, Sequence[Record]], figure: Path, rows: list[str]
) -> dict[str, object]:
    """Verdicts by set, and a figure of each; rows of the table are added."""
    verdicts = {}
    for name, records in judged.items():
        start = time.perf_counter()
        verdict = judge(uncertainty, records)
        assert verdict.frames_used_before == 0
        draw_reliability(verdict, figure.with_name(f"{figure.name}-{name.replace(' ', '')}.png"))
        verdicts[name] = verdict.to_json() | {"seconds": time.perf_counter() - start}
        rows += table_rows(f"{figure.name.replace('-', ', ', 1)}, {name}", verdict)
    return verdicts


def table_rows(title: str, verdict: Verdict) -> list[str]:
    """Of the table in Markdown."""
    rows = []
    for judgement in (verdict.energy, verdict.forces):
        if judgement is None:
            continue
        for method, s in judgement.methods.items():
            left = " / ".join(f"{value:.3g}" for value in s.rmse_without_worst.values())
            low, high = s.coverage_68_ci95 or (np.nan, np.nan)
            low95, high95 = s.coverage_95_ci95 or (np.nan, np.nan)
            found = "" if s.auroc_outside is None else f"{s.auroc_outside:.2f}"
            rows.append(
                f"| {title} | {judgement.unit} | {method} | {s.rmse:.3g} | {s.crps:.3g} "
                f"| {s.coverage_68:.2f} ({low:.2f} to {high:.2f}) | {s.coverage_95:.2f} ({low95:.2f} to {high95:.2f}) "
                f"| {s.miscalibration:.3f} | {left} | {found} |"
            )
            print(rows[-1], flush=True)
    return rows


def cost(potential: Potential, path: Path, uncertainties: dict[str, Uncertainty]) -> dict[str, float]:
    """Time of an estimate of one structure by times of a prediction; the median of nine."""
    from equinet.data import make_example

    graph = make_example(read_records(path, index=0).records[0], potential.cutoff).graph
    calls = {"prediction": lambda: potential(graph)} | {
        name: (lambda one=one: one.estimate(graph)) for name, one in uncertainties.items()
    }
    medians = {}
    for name, call in calls.items():
        call()
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        medians[name] = float(np.median(seconds))
    return {name: value / medians["prediction"] for name, value in medians.items()}


def main() -> None:
    """Train, calibrate, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--molecules", nargs="+", default=list(MOLECULES), choices=list(MOLECULES))
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--report", type=Path, help="folder for calibration.json, calibration.md and the figures")
    parser.add_argument("--epochs", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: Path = arguments.report or arguments.work
    report.mkdir(parents=True, exist_ok=True)
    rows: list[str] = [PREFACE, HEADER]
    costs: list[str] = []
    results: dict[str, dict[str, object]] = {}
    for molecule in arguments.molecules:
        work = arguments.work / molecule
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "judge.extxyz").is_file():
            split(arguments.data, molecule, work)
        models = train(work, arguments.members, arguments.epochs)
        potentials = [load_model(model).requires_grad_(False) for model in models]
        training = read_records(work / "train.extxyz").records
        calibration = read_records(work / "calibrate.extxyz").records
        judged = judging_sets(arguments.data, molecule, work)
        results[molecule] = {}
        made: dict[str, Uncertainty] = {}
        for name, members, samples in (
            ("last layer", potentials[:1], None),
            ("last layer, 8 directions", potentials[:1], 8),
            ("committee", potentials, None),
        ):
            start = time.perf_counter()
            made[name] = fit_uncertainty(members, training, calibration, FitSettings(samples=samples))
            seconds = time.perf_counter() - start
            file = work / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
            save_uncertainty(made[name], file, models[: len(members)])
            figure = report / f"{molecule}-{name.replace(', ', '-').replace(' ', '-')}"
            verdicts = measure(made[name], judged, figure, rows)
            results[molecule][name] = {"fit_seconds": seconds, "judged": verdicts}
        results[molecule]["cost"] = cost(potentials[0], work / "judge.extxyz", made)
        costs += [f"{molecule}, {name}: {value:.1f}" for name, value in results[molecule]["cost"].items()]
    costs_line = f"Cost of an estimate of one structure, in predictions: {'; '.join(costs)}."
    print(costs_line)
    (report / "calibration.json").write_text(json.dumps(results, indent=1) + "\n")
    (report / "calibration.md").write_text("\n".join([*rows, "", costs_line]) + "\n")


if __name__ == "__main__":
    main()
