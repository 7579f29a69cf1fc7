"""How dynamics of many structures went, each, from sums over its frames: kept in checkpoints, whatever the length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from equinet.simulate.propagation import Observation
from equinet.units import MEV_PER_EV


@dataclass(frozen=True)
class SystemRun:
    """How the dynamics of one structure ended.

    Attributes:
        index: of the structure, from 0.
        steps: that it took.
        temperature_k: mean of the second half of the frames; None without any.
        drift_mev_per_atom_ps: slope of the total energy over the frames; None with fewer than two.
        pressure_gpa: of npt, mean of the second half of the frames, with the kinetic part.
        failure: why it was left out (no steps) or stopped; None for one that came to its end.
        checks: how often a guard looked at it; None without one.
        alarms: how often a limit of the guard was passed.
        first_alarm: what the guard found first.
    """

    index: int
    steps: int = 0
    temperature_k: float | None = None
    drift_mev_per_atom_ps: float | None = None
    pressure_gpa: float | None = None
    failure: str | None = None
    checks: int | None = None
    alarms: int | None = None
    first_alarm: str | None = None


class Tally:
    """Sums over frames from which means and slopes follow: [8, B]."""

    def __init__(self, count: int) -> None:
        self.sums = np.zeros((8, count))
        # number, temperature, pressure (of the second half), and number, time, time^2, energy, energy * time of all

    def add(self, late: bool, time: float, observation: Observation, structures: Sequence[Atoms]) -> None:
        """A frame of each system, in the second half of the run or not; time in ps."""
        if late:
            self.sums[0] += 1
            self.sums[1] += observation.temperatures
            self.sums[2] += np.nan if observation.pressures is None else observation.pressures
        atoms = np.array([len(each) for each in structures])
        energy = (observation.potential + observation.kinetic) / atoms
        self.sums[3:] += np.stack(
            [np.ones_like(energy), np.full_like(energy, time), np.full_like(energy, time**2), energy, energy * time]
        )

    def summary(self, system: int, index: int, steps: int) -> SystemRun:
        """Of a system of the batch: the structure of that index, after so many steps."""
        late, temperature, pressure, count, t, tt, e, et = self.sums[:, system]
        spread = tt - t * t / count if count else 0.0
        return SystemRun(
            index,
            steps,
            float(temperature / late) if late else None,
            float((et - e * t / count) / spread * MEV_PER_EV) if spread > 0 else None,
            float(pressure / late) if late and np.isfinite(pressure) else None,
        )
