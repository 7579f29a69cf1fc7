"""What a physics check returns, and the one table of thresholds and step lengths that all checks use."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]

FORCE_FLOOR = 0.1
"""Errors are divided by the rms force, but never by less than this, eV/Angstrom."""


@dataclass(frozen=True)
class Check:
    """One physics check on one structure.

    Attributes:
        name: what was checked.
        value: the error found, in `unit`; NaN when the calculator raised or the check does not apply.
        threshold: the largest value that passes.
        unit: of value and threshold; "rms force" means relative to the rms force (see `scaled_error`).
        passed: None when the check does not apply (say, stress of a calculator that offers none) or the calculator
            does not claim the property (mirror symmetry of features of SO(3)).
        detail: the numbers behind the value, or why there is none.
        structure: name of the structure it was made on, where there are several.
    """

    name: str
    value: float
    threshold: float
    unit: str
    passed: bool | None
    detail: str
    structure: str = ""


@dataclass(frozen=True)
class Precision:
    """Thresholds and finite-difference steps for one floating-point precision.

    Attributes:
        name: "float64" or "float32".
        symmetry: rotation, reflection, translation, permutation, extensivity; relative to the rms force.
        gradient: forces and virial against finite differences of the energy; relative to the rms force.
        hessian: antisymmetric part of the Hessian relative to the whole.
        loop_work: work round a closed loop, eV.
        fluctuation_ratio: distance from 4 of the ratio of energy fluctuations at dt and dt/2.
        drift: slope of the total energy plus its standard error, meV/atom/ps.
        displacement: longest step of finite differences in positions, Angstrom.
        strain: longest step of finite differences in strain.
    """

    name: str
    symmetry: float
    gradient: float
    hessian: float
    loop_work: float
    fluctuation_ratio: float
    drift: float
    displacement: float
    strain: float


FLOAT64 = Precision(
    name="float64",
    symmetry=1e-9,
    gradient=1e-5,
    hessian=1e-5,
    loop_work=1e-6,
    fluctuation_ratio=0.5,
    drift=0.2,
    displacement=2e-3,
    strain=5e-4,
)
FLOAT32 = Precision(
    name="float32",
    symmetry=2e-5,
    gradient=1e-3,
    hessian=2e-3,
    loop_work=1e-5,
    fluctuation_ratio=0.5,
    drift=0.2,
    displacement=2e-2,
    strain=1e-2,
)
PRECISIONS = {precision.name: precision for precision in (FLOAT64, FLOAT32)}


@dataclass(frozen=True)
class Outcome:
    """What a calculator says: energy eV, forces [N, 3] eV/A, virial [3, 3] eV where it is offered."""

    energy: float
    forces: Array
    virial: Array | None


def energy_of(calculator: Any, atoms: Atoms) -> float:
    """The energy that the forces belong to (free_energy where the calculator has one), eV."""
    name = "free_energy" if "free_energy" in calculator.implemented_properties else "energy"
    return float(calculator.get_property(name, atoms))


def forces_of(calculator: Any, atoms: Atoms) -> Array:
    """Forces [N, 3], eV/Angstrom; a copy that later calculations do not overwrite."""
    return np.array(calculator.get_property("forces", atoms), dtype=np.float64)


def stress_of(calculator: Any, atoms: Atoms) -> Array | None:
    """Stress [3, 3] in eV/Angstrom^3, ASE's sign; None unless periodic in three directions and offered."""
    if not (atoms.pbc.all() and atoms.cell.rank == 3) or "stress" not in calculator.implemented_properties:
        return None
    try:
        xx, yy, zz, yz, xz, xy = calculator.get_property("stress", atoms)
    except NotImplementedError:
        return None
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], dtype=np.float64)


def virial_of(calculator: Any, atoms: Atoms) -> Array | None:
    """Virial [3, 3] in eV, -dE/dstrain: the result named "virial", else -V x stress, else None."""
    forces_of(calculator, atoms)  # makes sure that the results belong to these atoms
    virial = calculator.results.get("virial")
    if virial is not None:
        return np.array(virial, dtype=np.float64)
    stress = stress_of(calculator, atoms)
    return None if stress is None else -atoms.get_volume() * stress


def evaluate(calculator: Any, atoms: Atoms) -> Outcome:
    """Energy, forces and virial of one structure."""
    return Outcome(energy_of(calculator, atoms), forces_of(calculator, atoms), virial_of(calculator, atoms))


def force_scale(forces: Array) -> float:
    """Root mean square force component, at least FORCE_FLOOR, eV/Angstrom."""
    return max(float(np.sqrt(np.mean(forces**2))), FORCE_FLOOR)


def scaled_error(found: Outcome, expected: Outcome) -> tuple[float, str]:
    """Largest disagreement of energy per atom, forces and virial per atom, relative to the rms force.

    Energies and virials per atom are divided by (rms force x 1 Angstrom).

    Returns:
        the error, and its parts in words.
    """
    scale = force_scale(expected.forces)
    count = len(expected.forces)
    energy = abs(found.energy - expected.energy) / count
    forces = float(np.max(np.abs(found.forces - expected.forces)))
    words = f"energy {energy:.1e} eV/atom, forces {forces:.1e} eV/A"
    errors = [energy, forces]
    if found.virial is not None and expected.virial is not None:
        virial = float(np.max(np.abs(found.virial - expected.virial))) / count
        words += f", virial {virial:.1e} eV/atom"
        errors.append(virial)
    return worst(errors) / scale, f"{words}; rms force {scale:.2g} eV/A"


def worst(errors: list[float]) -> float:
    """The largest of several errors; NaN when one of them is NaN."""
    return float(np.max(errors))


def judged(name: str, value: float, threshold: float, unit: str, detail: str) -> Check:
    """A check that passes when value <= threshold (a NaN fails)."""
    return Check(name, value, threshold, unit, bool(value <= threshold), detail)


def not_applicable(name: str, threshold: float, unit: str, reason: str) -> Check:
    """A check that cannot be made, with the reason."""
    return Check(name, float("nan"), threshold, unit, None, reason)
