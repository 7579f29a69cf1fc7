"""One row with one seed: train through the command line, test, and beside it what copying would score."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import equinet
from benchmarks.accuracy.baseline import copy_nearest
from benchmarks.accuracy.errors import is_moving, summarize, with_group
from benchmarks.accuracy.prepare import Files, prepare
from benchmarks.accuracy.rows import Comparison, Row
from benchmarks.accuracy.twins import TWIN, Nearest, nearest_frames
from benchmarks.rows import versions
from equinet.bench.side import processor_name
from equinet.data import Record, read_records, separate_isolated_atoms
from equinet.errors import InputError
from equinet.files import replacing, sha256
from equinet.training.evaluation import FramePrediction, predict_records
from equinet.training.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = (0.002, 0.005, TWIN, 0.02, 0.05)  # Angstrom; how the number of twins depends on what is called one
COUNTED = "frames nearer to a training frame than"


@dataclass(frozen=True)
class Settings:
    """Where things are, and what is given to every training."""

    data: Path
    runs: Path  # folder of the run directories
    device: str = "auto"
    epochs: int | None = None  # to try things out; else as the configuration says


def measure(row: Row, seed: int, settings: Settings) -> dict[str, Any]:
    """Train unless that is done, test, return everything as plain values.

    Raises:
        InputError: data are missing, the training failed, or a finished run had other settings.
    """
    folder = settings.runs / row.name
    files = prepare(row, settings.data, folder / "data")
    run = RunDirectory(folder / f"seed-{seed}")
    command = training_command(row, seed, files, run, settings)
    train(command, run, row)
    text = " ".join(["equinet", *command[3:]]).replace(f"{ROOT}/", "").replace(str(settings.data), "DATA")
    return evaluate(row, seed, files, run, settings) | {"command": text}


def training_command(row: Row, seed: int, files: Files, run: RunDirectory, settings: Settings) -> list[str]:
    """``equinet train`` with the row's configuration; what differs between seeds is the seed."""
    options: dict[str, Any] = {
        "config": ROOT / row.config,
        "data.train_path": files.train,
        "run_dir": run.path,
        "seed": seed,
        "data.split_seed": seed,
    }
    if row.frames is not None:
        options["data.n_train"] = row.frames
    if row.validation:
        options["data.val_fraction"] = row.validation
    else:
        options["trainer.limit_val_batches"] = 0
    if settings.device != "auto":
        options["device"] = settings.device
    if settings.epochs is not None:
        options["trainer.max_epochs"] = settings.epochs
    pairs = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "equinet.cli", "train", *pairs]


def train(command: Sequence[str], run: RunDirectory, row: Row) -> None:
    """Train; go on where a run stopped; do nothing where it is finished.

    Raises:
        InputError: the training failed, or the run was begun with another command or configuration.
    """
    plan = {"command": list(command[3:]), "config": sha256(ROOT / row.config)}
    note = run.path.parent / f"{run.path.name}.json"
    if run.path.exists() and not run.last.exists() and not run.model.exists():
        shutil.rmtree(run.path)  # stopped before its first checkpoint
    if run.path.exists():
        if not note.exists() or json.loads(note.read_text()) != plan:
            raise InputError(f"{run.path} was trained with other settings than now; remove that folder to train anew")
        if run.training.exists() and run.model.exists():
            return
        command = [*command, "--ckpt_path", "last"]
    else:
        note.parent.mkdir(parents=True, exist_ok=True)
        with replacing(note) as partial:
            partial.write_text(json.dumps(plan, indent=2) + "\n")
    done = subprocess.run(list(command), cwd=ROOT, check=False)
    if done.returncode:
        raise InputError(f"training {run.path} failed (status {done.returncode}); its last lines stand above")


def evaluate(row: Row, seed: int, files: Files, run: RunDirectory, settings: Settings) -> dict[str, Any]:
    """Test a finished run on all of the row's tests."""
    split = json.loads(run.split.read_text())
    records = read_records(files.train).records
    trained = [record for record in records if record.source in set(split["train"])]
    isolated, trained = separate_isolated_atoms(trained)
    potential = equinet.load(run.model, device="cpu" if settings.device == "auto" else settings.device)
    tests = {
        test.name: _test(row, test, files.tests[test.name], trained, lambda r: predict_records(potential, r))
        for test in row.tests
    }
    training = json.loads(run.training.read_text())
    return {
        "row": row.name,
        "seed": seed,
        "title": row.title,
        "config": row.config,
        "config_sha256": sha256(ROOT / row.config),
        "train_frames": len(trained),
        "validation_frames": len(split["val"]) if row.validation else 0,
        "isolated_atoms": len(isolated),
        "training": training,
        "tests": tests,
        "machine": {
            "processor": processor_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "device": settings.device,
            "versions": versions("torch", "equinet-mlip"),
            "commit": _commit(),
        },
    }


def _test(row: Row, test: Comparison, path: Path, trained: Sequence[Record], predict: Any) -> dict[str, Any]:
    records = [with_group(record, row.group) for record in read_records(path).records]
    nearest = nearest_frames(records, trained)
    predicted: list[FramePrediction] = predict(records)
    copied, missing = copy_nearest(records, trained, nearest)
    still, _ = copy_nearest(records, trained, [Nearest(None, np.inf)] * len(records))
    fresh = [i for i, near in enumerate(nearest) if not near.is_twin]
    return {
        "file": path.name,
        "all": summarize(predicted, row.apart),
        "without_twins": summarize([predicted[i] for i in fresh], row.apart),
        "twins": count_twins(records, nearest, row.apart),
        "copy_of_nearest": {
            "without_a_frame_to_copy": missing,
            "all": summarize(copied, row.apart),
            "without_twins": summarize([copied[i] for i in fresh], row.apart),
        },
        "atoms_without_forces": {"all": summarize(still, row.apart)},
    }


def count_twins(records: Sequence[Record], nearest: Sequence[Nearest], apart: Sequence[str]) -> dict[str, Any]:
    """How many test frames are as good as trained on, and how near the others are."""
    distances = np.array([near.distance for near in nearest])
    known = distances[np.isfinite(distances)]
    moving = np.array([is_moving(record, apart) for record in records], dtype=bool)
    return {
        "threshold_angstrom": TWIN,
        "twins": int((distances < TWIN).sum()),
        "twins_of_moving_frames": int((distances[moving] < TWIN).sum()),
        "of_frames": len(records),
        "not_comparable": int(np.isinf(distances).sum()),
        **{f"{COUNTED} {limit} A": int((distances < limit).sum()) for limit in THRESHOLDS},
        "nearest_angstrom_percentiles": {
            str(q): round(float(np.percentile(known, q)), 5) for q in (0, 5, 25, 50, 75, 95, 100)
        }
        if known.size
        else {},
        "twin_sources": [
            {"test": record.source.split()[-1], "train_index": near.index, "distance": round(near.distance, 6)}
            for record, near in zip(records, nearest, strict=True)
            if near.is_twin
        ],
    }


def _commit() -> str:
    """Of the repository, with a plus where the tree has changes."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
