"""Thermostats that rescale momenta, of one system or of many at once: a factor for each, from its kinetic energy.

They stand between steps of constant energy, which ASE or torch-sim takes. ASE 3.29 counts 3N degrees of freedom in its
Nose-Hoover chain where the centre of mass rests, and keeps its state to itself; torch-sim 0.3 has one chain for all
systems of a batch, and no stochastic rescaling. Here each system has its own chain or random numbers, so that a
system's trajectory does not depend on which others are in its batch.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CHAIN = 3
"""Thermostats in a chain of Nose and Hoover."""
YOSHIDA = np.array([1.0, -(2.0 ** (1 / 3)), 1.0]) / (2.0 - 2.0 ** (1 / 3))
"""Parts of a time step of fourth order (H. Yoshida, Phys. Lett. A 150, 262 (1990))."""


class Thermostat(Protocol):
    """Factors for the momenta of B systems, before and after each time step.

    No array is changed in place, so that a shallow copy is a thermostat to come back to.
    """

    def before(self, kinetic: Array) -> Array:
        """Factors [B] for kinetic energies [B], eV."""

    def after(self, kinetic: Array) -> Array:
        """Factors [B] for kinetic energies [B], eV."""

    def drop(self, keep: NDArray[np.int64]) -> None:
        """Go on with some of the systems."""

    def state(self) -> dict[str, Any]:
        """What goes on: JSON-able."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""


class Bussi:
    """Stochastic velocity rescaling: G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7.

    Args:
        freedoms: degrees of freedom of each system, [B].
        thermal_energy: k T, eV.
        time: relaxation time in units of the time step.
        rngs: random numbers of each system.
    """

    def __init__(
        self, freedoms: NDArray[np.int64], thermal_energy: float, time: float, rngs: list[np.random.Generator]
    ) -> None:
        self.freedoms, self.rngs = freedoms, rngs
        self._target = 0.5 * thermal_energy
        self._kept = float(np.exp(-1.0 / time))

    def before(self, kinetic: Array) -> Array:
        """Nothing: ones [B]."""
        return np.ones_like(kinetic)

    def after(self, kinetic: Array) -> Array:
        """Factors [B] for kinetic energies [B], eV."""
        first = np.array([rng.standard_normal() for rng in self.rngs])
        others = np.array(
            [
                2.0 * rng.standard_gamma(0.5 * (n - 1)) if n > 1 else 0.0
                for rng, n in zip(self.rngs, self.freedoms, strict=True)
            ]
        )
        moving = (kinetic > 0) & (self.freedoms > 0)
        part = np.sqrt(np.divide((1 - self._kept) * self._target, kinetic, out=np.zeros_like(kinetic), where=moving))
        factor = np.sqrt((np.sqrt(self._kept) + part * first) ** 2 + part**2 * others)
        # the sign of appendix A lets a system of one degree turn round
        return np.where(moving, np.where(np.sqrt(self._kept) + part * first < 0, -factor, factor), 1.0)

    def drop(self, keep: NDArray[np.int64]) -> None:
        """Go on with some of the systems."""
        self.freedoms, self.rngs = self.freedoms[keep], [self.rngs[system] for system in keep]

    def state(self) -> dict[str, Any]:
        """Random states."""
        return {"rngs": [rng.bit_generator.state for rng in self.rngs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        for rng, own in zip(self.rngs, state["rngs"], strict=True):
            rng.bit_generator.state = own


class NoseHooverChain:
    """A chain of thermostats for each system: G. J. Martyna, M. L. Klein, M. Tuckerman, J. Chem. Phys. 97, 2635 (1992).

    Args:
        freedoms: degrees of freedom of each system, [B].
        thermal_energy: k T, eV.
        time: relaxation time in units of the time step.
    """

    def __init__(self, freedoms: NDArray[np.int64], thermal_energy: float, time: float) -> None:
        self.freedoms, self.thermal_energy = freedoms, thermal_energy
        self.masses = np.full((CHAIN, len(freedoms)), thermal_energy * time**2)  # in eV steps^2
        self.masses[0] *= np.maximum(freedoms, 1)
        self.positions = np.zeros((CHAIN, len(freedoms)))
        self.momenta = np.zeros((CHAIN, len(freedoms)))

    def before(self, kinetic: Array) -> Array:
        """Half a time step of the chains; factors [B] for kinetic energies [B], eV."""
        factors = np.ones_like(kinetic)
        for part in 0.5 * YOSHIDA:
            factors = factors * self._advance(kinetic * factors**2, part)
        return factors

    def after(self, kinetic: Array) -> Array:
        """As before."""
        return self.before(kinetic)

    def energy(self) -> Array:
        """What the chains hold, [B] eV: with the systems' total energy it stays constant."""
        degrees = np.ones_like(self.positions)
        degrees[0] = self.freedoms
        return np.sum(0.5 * self.momenta**2 / self.masses + degrees * self.thermal_energy * self.positions, axis=0)

    def _advance(self, kinetic: Array, part: float) -> Array:
        """Part of a step: forces up the chain, the systems, forces down."""
        momenta = self.momenta.copy()
        for link in reversed(range(CHAIN)):
            self._kick(momenta, link, kinetic, part)
        self.positions = self.positions + part * momenta / self.masses
        factors = np.exp(-part * momenta[0] / self.masses[0])
        kinetic = kinetic * factors**2
        for link in range(CHAIN):
            self._kick(momenta, link, kinetic, part)
        self.momenta = momenta
        return factors

    def _kick(self, momenta: Array, link: int, kinetic: Array, part: float) -> None:
        drag = np.exp(-0.25 * part * momenta[link + 1] / self.masses[link + 1]) if link + 1 < CHAIN else 1.0
        if link == 0:
            force = np.where(self.freedoms > 0, 2.0 * kinetic - self.freedoms * self.thermal_energy, 0.0)
        else:
            force = momenta[link - 1] ** 2 / self.masses[link - 1] - self.thermal_energy
        momenta[link] = (momenta[link] * drag + 0.5 * part * force) * drag

    def drop(self, keep: NDArray[np.int64]) -> None:
        """Go on with some of the systems."""
        self.freedoms, self.masses = self.freedoms[keep], self.masses[:, keep]
        self.positions, self.momenta = self.positions[:, keep], self.momenta[:, keep]

    def state(self) -> dict[str, Any]:
        """Positions and momenta of the chains."""
        return {"positions": self.positions.tolist(), "momenta": self.momenta.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.positions, self.momenta = np.array(state["positions"]), np.array(state["momenta"])
