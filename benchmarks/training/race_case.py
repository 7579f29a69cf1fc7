"""What the race is about: the network, the settings both sides try, how errors are measured. It needs ASE alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import GPa

CUTOFF = 4.5
LAYERS = 3
L_MAX = 2
CHANNELS = 16
RADIAL_HIDDEN = 64
NUM_BESSEL = 8
ENVELOPE_POWER = 6
EMA_DECAY = 0.99
SYMBOL = "Si"


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


SETTINGS = (
    Setting("nequip's defaults", lr=0.01, batch_size=5, energy=1.0, forces=1.0, stress=1.0),
    # weights of configs/mlearn.yaml, 4:4:1 in units of the labels' rms
    Setting("as configs/mlearn.yaml", lr=0.02, batch_size=4, energy=8.0, forces=1.0, stress=600.0),
    Setting("single frames", lr=0.01, batch_size=1, energy=8.0, forces=1.0, stress=600.0),
)
"""The first with the loss weights and learning rate that nequip's documentation starts from, the second with those our
configuration has, the third for whoever takes few steps a second."""


def errors(frames: Sequence[Any], calculator: Any) -> dict[str, float]:
    """Mean absolute errors of an ASE calculator, labels being the frames' own calculators' results."""
    energy, forces, stress = [], [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energy.append((atoms.get_potential_energy() - frame.get_potential_energy()) / len(frame))
        forces.append((atoms.get_forces() - frame.get_forces()).ravel())
        stress.append(atoms.get_stress(voigt=False).ravel() - frame.get_stress(voigt=False).ravel())
    return {
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(energy).mean()),
        "force_mae_mev_per_angstrom": 1e3 * float(np.abs(np.concatenate(forces)).mean()),
        "stress_mae_gpa": float(np.abs(np.concatenate(stress)).mean() / GPa),
    }


def label_spread(frames: Sequence[Any]) -> dict[str, float]:
    """Mean absolute deviations of the labels, under the keys of :func:`errors`: what a constant would be wrong by."""
    energy = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
    forces = np.concatenate([frame.get_forces().ravel() for frame in frames])
    stress = np.concatenate([frame.get_stress(voigt=False).ravel() for frame in frames])
    return {
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(energy - energy.mean()).mean()),
        "force_mae_mev_per_angstrom": 1e3 * float(np.abs(forces).mean()),
        "stress_mae_gpa": float(np.abs(stress - stress.mean()).mean() / GPa),
    }


def score(found: dict[str, float], spread: dict[str, float]) -> float:
    """Mean of the three errors, each in units of the labels' deviation: what settings and snapshots are chosen by."""
    return float(np.mean([found[key] / spread[key] for key in spread]))
