"""What the race is about: the network, the settings both sides try, how errors are measured. It needs ASE alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.units import GPa

RADIAL_HIDDEN = 64
NUM_BESSEL = 8
ENVELOPE_POWER = 6


@dataclass(frozen=True)
class Setting:
    """What is tried. Weights are of mean squared errors in eV/atom, eV/Angstrom, eV/Angstrom^3."""

    name: str
    lr: float
    batch_size: int
    energy: float
    forces: float
    stress: float

    @property
    def weights(self) -> dict[str, float]:
        """Of sum one, as nequip makes them and as ours are given them."""
        total = self.energy + self.forces + self.stress
        return {"energy": self.energy / total, "forces": self.forces / total, "stress": self.stress / total}


@dataclass(frozen=True)
class Case:
    """One data set, the network for it, and the settings.

    Args:
        title: of the data.
        cutoff: Angstrom.
        layers: of messages.
        l_max: largest degree.
        channels: of each degree.
        ema_decay: of the averaged weights.
        shifts: energy of an atom of each element, eV, by symbol: E0, as ours fits them to the training frames.
        measure: which errors are reported.
        energy: and in which unit.
        stress: whether there are labels of it.
        settings: to be tried by both sides.
    """

    title: str
    cutoff: float
    layers: int
    l_max: int
    channels: int
    ema_decay: float
    shifts: dict[str, float]
    measure: Literal["mae", "rmse"]
    energy: Literal["mev_per_atom", "mev"]
    stress: bool
    settings: tuple[Setting, ...]

    @property
    def network(self) -> str:
        """In words."""
        return f"{self.layers} layers, l_max {self.l_max}, {self.channels} channels, natural parity, {self.cutoff:g} Å"

    @property
    def reported(self) -> dict[str, str]:
        """Labels of the errors that are reported, by their keys in :func:`errors`."""
        name = self.measure.upper()
        unit = {"mev_per_atom": "meV/atom", "mev": "meV"}[self.energy]
        found = {f"energy_{self.measure}_{self.energy}": f"energy {name}, {unit}"}
        found[f"force_{self.measure}_mev_per_angstrom"] = f"force {name}, meV/Å"
        return found | ({f"stress_{self.measure}_gpa": f"stress {name}, GPa"} if self.stress else {})


def settings(name: str, lr: float, batch_size: int, energy: float, forces: float, stress: float) -> tuple[Setting, ...]:
    """What both sides try: with the loss weights and learning rate that nequip's documentation starts from; as a
    configuration of ours has it; and single frames, for whoever takes few steps a second.

    Args:
        name: of the configuration.
        lr: its learning rate.
        batch_size: its batches.
        energy: its weight of squared errors in eV/atom.
        forces: the same in eV/Angstrom.
        stress: the same in eV/Angstrom^3; 0 where there are no labels.
    """
    return (
        Setting("nequip's defaults", 0.01, 5, 1.0, 1.0, float(stress > 0.0)),
        Setting(f"as {name}", lr, batch_size, energy, forces, stress),
        Setting("single frames", min(lr, 0.01), 1, energy, forces, stress),
    )


def errors(frames: Sequence[Any], calculator: Any) -> dict[str, float]:
    """Mean absolute and root mean square errors of an ASE calculator, labels being the frames' own calculators'
    results."""
    energy, total, forces, stress = [], [], [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        total.append(atoms.get_potential_energy() - frame.get_potential_energy())
        energy.append(total[-1] / len(frame))
        forces.append((atoms.get_forces() - frame.get_forces()).ravel())
        if "stress" in frame.calc.results:
            stress.append(atoms.get_stress(voigt=False).ravel() - frame.get_stress(voigt=False).ravel())
    found = {
        "energy_{}_mev_per_atom": 1e3 * np.array(energy),
        "energy_{}_mev": 1e3 * np.array(total),
        "force_{}_mev_per_angstrom": 1e3 * np.concatenate(forces),
    }
    if stress:
        found["stress_{}_gpa"] = np.concatenate(stress) / GPa
    return {key.format("mae"): float(np.abs(values).mean()) for key, values in found.items()} | {
        key.format("rmse"): float(np.sqrt(np.square(values).mean())) for key, values in found.items()
    }


def label_spread(frames: Sequence[Any]) -> dict[str, float]:
    """Mean absolute deviations of the labels, under the keys of :func:`errors`: what a constant would be wrong by."""
    energy = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
    found = {
        "energy_mae_mev_per_atom": 1e3 * (energy - energy.mean()),
        "force_mae_mev_per_angstrom": 1e3 * np.concatenate([frame.get_forces().ravel() for frame in frames]),
    }
    if all("stress" in frame.calc.results for frame in frames):
        stress = np.concatenate([frame.get_stress(voigt=False).ravel() for frame in frames])
        found["stress_mae_gpa"] = (stress - stress.mean()) / GPa
    return {key: float(np.abs(values).mean()) for key, values in found.items()}


def score(found: dict[str, float], spread: dict[str, float]) -> float:
    """Mean of the errors, each in units of the labels' deviation: what settings and snapshots are chosen by."""
    return float(np.mean([found[key] / spread[key] for key in spread]))
