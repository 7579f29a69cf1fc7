"""Constant pressure by stochastic rescaling of the cell, its volume or its shape too, of one system or of many at once.

M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107 (2020); V. Del Tatto, P. Raiteri, M. Bernetti and G. Bussi, Appl.
Sci. 12, 1139 (2022). torch-sim 0.3 does not sample constant pressure rightly (its force on the volume has the unit of
an energy), and ASE has no stochastic barostat whose state could be kept.

A barostat gives deformations F, symmetric [3, 3]: lattice vectors and positions become their products with F, momenta
those with its inverse, so that the volume of phase space is kept.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHORTEST, LONGEST = 0.9, 1.1
"""Of a length at once, in lengths before: what wants more has left all reason, and is stopped for its volume."""


class CellRescaling:
    """Isotropic deformations, in the variable sqrt(V), whose noise is the same at every volume.

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

    def deformations(self, pressures: Array, volumes: Array) -> Array:
        """Deformations [B, 3, 3].

        Args:
            pressures: inside, [B, 3, 3], kinetic part included, eV/Angstrom^3.
            volumes: [B], Angstrom^3.
        """
        root = np.sqrt(volumes)
        inside = np.trace(pressures, axis1=1, axis2=2) / 3
        excess = inside - self.pressure + 0.5 * self.thermal_energy / volumes
        noise = np.array([rng.standard_normal() for rng in self.rngs])
        moved = root * (1 + 0.5 * self.rates * excess) + np.sqrt(0.5 * self.rates * self.thermal_energy) * noise
        factors = np.clip((moved / root).clip(0.0) ** (2 / 3), SHORTEST, LONGEST)
        return factors[:, None, None] * np.eye(3)

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


class ShapeRescaling(CellRescaling):
    """Deformations of any kind: each strain relaxes as a third of the volume does.

    Steps are exponentials of ``D (V (P_inside - P) / kT) + sqrt(2 D) N`` with ``D = rate kT / (3 V)``. Under products,
    cells have the weight ``dh / det(h)^3``; the ensemble's is V times as much, and what that adds to the drift is what
    the change of D with the volume takes away again. Noise that turns the crystal is left out: energies do not know it.
    """

    def deformations(self, pressures: Array, volumes: Array) -> Array:
        """See :class:`CellRescaling`."""
        noise = np.stack([rng.standard_normal((3, 3)) for rng in self.rngs])
        noise = (noise + noise.swapaxes(1, 2)) / 2  # of variance 1 along axes, 1/2 beside them: the same in all axes
        rates = (self.rates / 3)[:, None, None]
        spread = np.sqrt(2 * rates * self.thermal_energy / volumes[:, None, None])
        steps = rates * (pressures - self.pressure * np.eye(3)) + spread * noise
        strains, axes = np.linalg.eigh((steps + steps.swapaxes(1, 2)) / 2)
        factors = np.exp(strains.clip(np.log(SHORTEST), np.log(LONGEST)))
        return (axes * factors[:, None, :]) @ axes.swapaxes(1, 2)
