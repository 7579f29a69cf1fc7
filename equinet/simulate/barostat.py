"""Constant pressure by stochastic rescaling of the cell, isotropic, of one system or of many at once.

M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107 (2020), in the variable sqrt(V), whose noise is the same at every
volume. torch-sim 0.3 does not sample constant pressure rightly (its force on the volume has the unit of an energy), and
ASE has no stochastic barostat whose state could be kept.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class CellRescaling:
    """Factors for lengths, from pressure and volume.

    Args:
        pressure: outside, eV/Angstrom^3.
        thermal_energy: k T, eV.
        time: relaxation time in units of the time between calls.
        compressibilities: of each system, [B], Angstrom^3/eV.
        rngs: random numbers of each system.
    """

    def __init__(
        self,
        pressure: float,
        thermal_energy: float,
        time: float,
        compressibilities: Array,
        rngs: list[np.random.Generator],
    ) -> None:
        self.pressure, self.thermal_energy = pressure, thermal_energy
        self.rates = compressibilities / time
        self.rngs = rngs

    def factors(self, pressures: Array, volumes: Array) -> Array:
        """Factors [B] for lengths; momenta are divided by them.

        Args:
            pressures: inside, [B], kinetic part included, eV/Angstrom^3.
            volumes: [B], Angstrom^3.
        """
        root = np.sqrt(volumes)
        excess = pressures - self.pressure + 0.5 * self.thermal_energy / volumes
        noise = np.array([rng.standard_normal() for rng in self.rngs])
        moved = root * (1 + 0.5 * self.rates * excess) + np.sqrt(0.5 * self.rates * self.thermal_energy) * noise
        # no more than a tenth at once: what wants more has left all reason, and is stopped for its volume
        return np.clip((moved / root).clip(0.0) ** (2 / 3), 0.9, 1.1)

    def drop(self, keep: NDArray[np.int64]) -> None:
        """Go on with some of the systems."""
        self.rates, self.rngs = self.rates[keep], [self.rngs[system] for system in keep]

    def state(self) -> dict[str, Any]:
        """Rates and random states."""
        return {"rates": self.rates.tolist(), "rngs": [rng.bit_generator.state for rng in self.rngs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.rates = np.array(state["rates"])
        for rng, own in zip(self.rngs, state["rngs"], strict=True):
            rng.bit_generator.state = own
