"""Figures and ``report.json`` of a run: what it learnt, how wrong it is, whether energy is conserved."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.files import replacing
from equinet.training.evaluation import Evaluation, FramePrediction
from equinet.units import MEV_PER_EV

Array = NDArray[np.float64]

_STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9772b", "#777777"


def learning_curve(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Plot loss and errors of energy and forces against the epoch.

    Training errors are those of the weights as they were at each batch, validation errors of their average.

    Args:
        rows: as :func:`equinet.training.run_directory.read_metrics` returns them.
        path: of the PNG.
    """
    epochs = [row["epoch"] + 1 for row in rows]
    with _figure(path, 3) as axes:
        _series(axes[0], epochs, rows, "train/loss", "training", _GREY)
        _series(axes[0], epochs, rows, "val/loss", "validation", _BLUE)
        axes[0].set_ylabel("loss (dimensionless)")
        for ax, quantity, label in (
            (axes[1], "energy_mae_mev_per_atom", "energy MAE (meV/atom)"),
            (axes[2], "force_mae_mev_per_angstrom", "force MAE (meV/Å)"),
        ):
            _series(ax, epochs, rows, f"train/{quantity}", "training", _GREY)
            _series(ax, epochs, rows, f"val/{quantity}", "validation", _BLUE)
            ax.set_ylabel(label)
        for ax in axes:
            _plain_log_scale(ax)
            ax.set_xlabel("epoch")
        axes[0].legend()
    return path


def _plain_log_scale(ax: Any) -> None:
    """A logarithmic axis with ticks at 1, 2, 5 times powers of ten, written as plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _series(
    ax: Any, epochs: Sequence[float], rows: Sequence[Mapping[str, float]], key: str, label: str, color: str
) -> None:
    points = [(epoch, row[key]) for epoch, row in zip(epochs, rows, strict=True) if key in row]
    if points:
        ax.plot(*zip(*points, strict=True), label=label, color=color)


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
    with _figure(path, 2) as axes:
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
    ax.plot([low, high], [low, high], color=_GREY, linewidth=0.8, zorder=1)
    ax.scatter(reference, predicted, s=4, alpha=0.35, color=_BLUE, edgecolors="none", rasterized=True, zorder=2)
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
    with _figure(path, 1) as axes:
        deviation = MEV_PER_EV * (np.asarray(total_energies) - total_energies[0]) / atoms
        axes[0].plot(times, deviation, color=_BLUE)
        axes[0].axhline(0.0, color=_GREY, linewidth=0.8)
        axes[0].set_xlabel("time (ps)")
        axes[0].set_ylabel("total energy - start (meV/atom)")
        axes[0].set_title(f"NVE, drift {drift:.2g} meV/atom/ps", fontsize=9)
    return path


class _figure:  # noqa: N801 (a context manager)
    """A row of panels in the house style, written as PNG when the context ends."""

    def __init__(self, path: Path, panels: int) -> None:
        self.path = path
        self.panels = panels

    def __enter__(self) -> list[Any]:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._style = mpl.rc_context(_STYLE)  # type: ignore[arg-type]
        self._style.__enter__()
        self.figure = Figure(figsize=(3.1 * self.panels + 0.4, 2.9), layout="constrained")
        FigureCanvasAgg(self.figure)
        return list(self.figure.subplots(1, self.panels, squeeze=False)[0])

    def __exit__(self, *exception: Any) -> None:
        try:
            if exception[0] is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.figure.savefig(self.path)
        finally:
            self._style.__exit__(*exception)


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
