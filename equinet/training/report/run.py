"""Figures and ``report.json`` of a run: what it learnt, how wrong it is, whether energy is conserved."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.files import replacing
from equinet.training.evaluation import Evaluation, FramePrediction
from equinet.training.report.style import BLUE, GREY, figure, plain_log_scale
from equinet.units import MEV_PER_EV

Array = NDArray[np.float64]


def learning_curve(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Plot loss and errors of energy and forces against the epoch.

    Training errors are those of the weights as they were at each batch, validation errors of their average.

    Args:
        rows: as :func:`equinet.training.run_directory.read_metrics` returns them.
        path: of the PNG.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] + 1 for row in rows]
    with figure(path, 3) as axes:
        _series(axes[0], epochs, rows, "train/loss", "training", GREY)
        _series(axes[0], epochs, rows, "val/loss", "validation", BLUE)
        axes[0].set_ylabel("loss (dimensionless)")
        for ax, quantity, label in (
            (axes[1], "energy_mae_mev_per_atom", "energy MAE (meV/atom)"),
            (axes[2], "force_mae_mev_per_angstrom", "force MAE (meV/Å)"),
        ):
            _series(ax, epochs, rows, f"train/{quantity}", "training", GREY)
            _series(ax, epochs, rows, f"val/{quantity}", "validation", BLUE)
            ax.set_ylabel(label)
        for ax in axes:
            plain_log_scale(ax)
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].legend()
    return path


def _series(
    ax: Any, epochs: Sequence[float], rows: Sequence[Mapping[str, float]], key: str, label: str, color: str
) -> None:
    points = [(epoch, row[key]) for epoch, row in zip(epochs, rows, strict=True) if key in row]
    if points:
        marker = "o" if len(points) == 1 else None  # a line through one point is invisible
        ax.plot(*zip(*points, strict=True), label=label, color=color, marker=marker)


def parity(frames: Sequence[FramePrediction], evaluation: Evaluation, path: Path) -> Path:
    """Plot predicted against reference energies per atom and force components.

    Energies are drawn relative to the mean of the reference.
    """
    energy = np.array(
        [(f.record.energy, f.energy, len(f.record.numbers)) for f in frames if f.record.energy is not None]
    ).reshape(-1, 3)
    energy = MEV_PER_EV * energy[:, :2] / energy[:, 2:]
    if len(energy):
        energy = energy - energy[:, 0].mean()
    pairs = [(f.record.forces.ravel(), f.forces.ravel()) for f in frames if f.record.forces is not None]
    reference = np.concatenate([label for label, _ in pairs]) if pairs else np.zeros(0)
    predicted = np.concatenate([force for _, force in pairs]) if pairs else np.zeros(0)
    errors = evaluation.errors
    with figure(path, 2) as axes:
        mae = errors.get("energy_mae_mev_per_atom")
        _parity_panel(axes[0], energy[:, 0], energy[:, 1], "energy - mean (meV/atom)", mae, "meV/atom")
        mae = errors.get("force_mae_mev_per_angstrom")
        _parity_panel(axes[1], reference, predicted, "force component (eV/Å)", mae, "meV/Å")
    return path


def _parity_panel(ax: Any, reference: Array, predicted: Array, label: str, mae: float | None, unit: str) -> None:
    ax.set_xlabel(f"reference {label}")
    ax.set_ylabel(f"predicted {label}")
    if not reference.size or mae is None:
        ax.text(0.5, 0.5, "no labels", ha="center", va="center", transform=ax.transAxes)
        return
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
    ax.scatter(reference, predicted, s=4, alpha=0.35, color=BLUE, edgecolors="none", rasterized=True, zorder=2)
    ax.set_aspect("equal", adjustable="box")
    margin = 0.04 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(low - margin, high + margin)
    ax.text(0.04, 0.93, f"MAE {mae:.3g} {unit}", transform=ax.transAxes, va="top")


def nve_energy(times: Array, total_energies: Array, atoms: int, drift: float, path: Path) -> Path:
    """Plot the deviation of the total energy from its first value.

    Args:
        times: ps.
        total_energies: eV, kinetic and potential.
        atoms: number of atoms.
        drift: meV/atom/ps, for the label.
        path: of the PNG.
    """
    with figure(path, 1) as axes:
        deviation = MEV_PER_EV * (np.asarray(total_energies) - total_energies[0]) / atoms
        axes[0].plot(times, deviation, color=BLUE)
        axes[0].axhline(0.0, color=GREY, linewidth=0.8)
        axes[0].set_xlabel("time (ps)")
        axes[0].set_ylabel("total energy - start (meV/atom)")
        axes[0].set_title(f"NVE, drift {drift:.2g} meV/atom/ps", fontsize=9)
    return path


def write_report(
    path: Path,
    test: Evaluation,
    training: Mapping[str, Any],
    nve: Mapping[str, Any],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Write ``report.json``.

    Args:
        path: of the file.
        test: errors on the test split.
        training: the contents of ``training.json``: "seconds", "epochs", ...
        nve: of the dynamics, at least "drift_mev_per_atom_per_ps".
        versions: of this package and what it depends on.

    Returns:
        What was written.
    """
    report = {"test": test.to_json(), "nve": dict(nve), "train": dict(training), "versions": dict(versions)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    return report
