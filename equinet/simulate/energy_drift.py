"""How fast the total energy of dynamics drifts: the score of a potential's forces and of a time step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.units import MEV_PER_EV

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """Least-squares slope of the total energy per atom and its standard error, both meV/atom/ps."""

    slope: float
    error: float


def drift(times: Array, energies_per_atom: Array) -> Drift:
    """Least-squares slope of energies [T] (eV/atom) over times [T] (ps), with its standard error.

    Successive residuals are correlated, so the textbook error is multiplied by sqrt(2 tau), tau being their
    integrated autocorrelation time in samples, summed until it first turns negative (Sokal, in Functional
    Integration, 1997); never less than the textbook error.

    Raises:
        InputError: fewer than three samples.
    """
    count = len(times)
    if count < 3:
        raise InputError(f"a drift needs three energies at least, there are {count}; run more steps")
    t = times - times.mean()
    e = (energies_per_atom - energies_per_atom.mean()) * MEV_PER_EV
    slope = float(t @ e / (t @ t))
    residuals = e - slope * t
    variance = residuals @ residuals
    textbook = np.sqrt(variance / (count - 2) / (t @ t))
    tau = 0.5
    if variance > 0:
        for lag in range(1, count // 2):
            correlation = residuals[lag:] @ residuals[:-lag] / variance
            if correlation <= 0:
                break
            tau += correlation
    return Drift(slope, float(textbook * np.sqrt(2 * tau)))
