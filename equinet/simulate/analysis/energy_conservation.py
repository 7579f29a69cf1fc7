"""How well a run at constant energy kept its energy: the score of a potential's smoothness and of the time step."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.analysis.blocking import block_average
from equinet.simulate.analysis.curves import with_error
from equinet.simulate.analysis.trajectory import Frame
from equinet.simulate.dynamics import COLUMNS, drift
from equinet.simulate.panels import COLORS, panels
from equinet.simulate.velocities import FreedomCounter
from equinet.units import MEV_PER_EV

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

EXCHANGED = 0.5
"""Standard deviation of the total energy over that of the kinetic energy, drift taken out, above which energy came from
a bath (or nothing was conserved); at constant energy it is far below, as potential energy loses what kinetic wins."""


@dataclass(frozen=True)
class EnergySeries:
    """Energies in time: times [T] ps, potential and kinetic energies [T] eV, temperatures [T] K, of so many atoms."""

    times_ps: Array
    potential_ev: Array
    kinetic_ev: Array
    temperatures_k: Array
    atoms: int


@dataclass(frozen=True)
class EnergyConservation:
    """Of a run.

    Attributes:
        constant_energy: whether the run was at constant energy, judged by EXCHANGED; else the drift is that of a bath.
        drift_mev_per_atom_per_ps: least-squares slope of the total energy.
        drift_error_mev_per_atom_per_ps: standard error, correlations allowed for.
        fluctuation_mev_per_atom: rms of the total energy about that line.
        kinetic_fluctuation_mev_per_atom: standard deviation of the kinetic energy.
        mean_temperature_k: of the degrees of freedom that move: as the log has it, or counted from the velocities.
        temperature_error_k: standard error, block-averaged.
        duration_ps: of the run.
        samples: energies used.
        atoms: number.
        times_ps: [T].
        total_mev_per_atom: [T] from the first on.
    """

    constant_energy: bool
    drift_mev_per_atom_per_ps: float
    drift_error_mev_per_atom_per_ps: float
    fluctuation_mev_per_atom: float
    kinetic_fluctuation_mev_per_atom: float
    mean_temperature_k: float
    temperature_error_k: float
    duration_ps: float
    samples: int
    atoms: int
    times_ps: Array
    total_mev_per_atom: Array


class EnergyRecorder:
    """Collects energies of frames that have a potential energy, velocities and a time."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float]] = []
        self._missing = ""
        self._atoms = 0
        self._freedom = FreedomCounter()

    def add(self, frame: Frame) -> None:
        """The next frame."""
        self._atoms = len(frame.numbers)
        if frame.potential_energy is None or frame.velocities is None or frame.time_ps is None:
            lacks = "energy" if frame.potential_energy is None else "velocities" if frame.velocities is None else "time"
            self._missing = self._missing or f"frame {frame.number} has no {lacks}"
            return
        kinetic = 0.5 * float(frame.masses @ (frame.velocities**2).sum(axis=1)) / (1000 * units.fs) ** 2
        self._rows.append((frame.time_ps, frame.potential_energy, kinetic))
        self._freedom.add(frame.positions, frame.velocities, frame.masses, frame.pbc)

    def finish(self) -> EnergySeries:
        """All of them.

        Raises:
            InputError: a frame lacks something.
        """
        if self._missing or not self._rows:
            raise InputError(f"{self._missing or 'no frames'}: the drift needs energy, velocities and time, or --log")
        times, potential, kinetic = np.array(self._rows).T
        temperatures = 2 * kinetic / (max(self._freedom.count(), 1) * units.kB)
        return EnergySeries(times, potential, kinetic, temperatures, self._atoms)


def read_energy_log(path: Path, atoms: int) -> EnergySeries:
    """The CSV file that ``equinet md`` writes.

    Args:
        path: of the file.
        atoms: how many there are.

    Raises:
        InputError: not there, or not of this kind.
    """
    wanted = COLUMNS[:4]
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = [[float(row[name]) for name in wanted] for row in csv.DictReader(handle)]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check --log") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no log of equinet md, whose columns are {', '.join(COLUMNS)}; check --log") from None
    if not rows:
        raise InputError(f"{path}: holds no energies")
    times, potential, kinetic, temperatures = np.array(rows).T
    return EnergySeries(times, potential, kinetic, temperatures, atoms)


def energy_conservation(series: EnergySeries) -> EnergyConservation:
    """Drift and fluctuation of the total energy.

    Raises:
        InputError: fewer than three energies; not finite, or times that do not grow.
    """
    values = np.array([series.times_ps, series.potential_ev, series.kinetic_ev, series.temperatures_k])
    if not np.isfinite(values).all():
        raise InputError(f"energy number {int((~np.isfinite(values)).any(axis=0).argmax())} is not finite")
    if (np.diff(series.times_ps) <= 0).any():
        raise InputError("the times of the energies do not grow; are two runs in one file?")
    per_atom = (series.potential_ev + series.kinetic_ev) / series.atoms
    found = drift(series.times_ps, per_atom)
    total = (per_atom - per_atom[0]) * MEV_PER_EV
    times = series.times_ps - series.times_ps[0]
    residual = total - total.mean() - found.slope * (times - times.mean())
    kinetic = series.kinetic_ev / series.atoms * MEV_PER_EV
    temperature = block_average(series.temperatures_k)
    return EnergyConservation(
        constant_energy=bool(residual.std() < EXCHANGED * kinetic.std()),
        drift_mev_per_atom_per_ps=found.slope,
        drift_error_mev_per_atom_per_ps=found.error,
        fluctuation_mev_per_atom=float(residual.std()),
        kinetic_fluctuation_mev_per_atom=float(kinetic.std()),
        mean_temperature_k=float(temperature.mean),
        temperature_error_k=float(temperature.error),
        duration_ps=float(times[-1]),
        samples=len(times),
        atoms=series.atoms,
        times_ps=series.times_ps,
        total_mev_per_atom=total,
    )


def draw_energy_conservation(found: EnergyConservation) -> "Figure":
    """The total energy over time, and the line of its drift."""
    figure, (axis,) = panels(1, width=5.6)
    times, total = found.times_ps, found.total_mev_per_atom
    axis.plot(times, total, color=COLORS[0], linewidth=0.8)
    line = total.mean() + found.drift_mev_per_atom_per_ps * (times - times.mean())
    slope, error = found.drift_mev_per_atom_per_ps, found.drift_error_mev_per_atom_per_ps
    axis.plot(times, line, color=COLORS[1], linewidth=1.4, label=f"drift {with_error(slope, error)} meV/atom/ps")
    if not found.constant_energy:
        axis.set_title("energy was exchanged with a bath", fontsize=9, loc="left")
    axis.set(xlabel="time (ps)", ylabel="total energy (meV/atom)", xlim=(times[0], times[-1]))
    axis.margins(y=0.15)  # room for the legend
    axis.legend(frameon=False, fontsize=8)
    return figure
