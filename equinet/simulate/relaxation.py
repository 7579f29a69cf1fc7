"""Relaxation of positions, and of positions and cell, with ASE's optimizers; of one structure."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from equinet.errors import InputError, is_number
from equinet.simulate.output import without_results

OptimizerName = Literal["fire", "lbfgs", "bfgs"]
OPTIMIZERS: dict[str, Any] = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}
FARTHEST = 1e3
"""Force that ends a relaxation, eV/Angstrom: the model has left its domain."""
SMALLEST = 0.2
"""Volume that ends a relaxation of the cell, in volumes of the start: it collapses."""
SYMMETRY_TOLERANCE = 0.01
"""Angstrom, within which atoms count as equivalent."""


@dataclass(frozen=True)
class Relaxation:
    """How a relaxation ended.

    Attributes:
        atoms: the last structure, with its calculator.
        converged: whether the largest force is below fmax.
        steps: taken.
        largest_force: on an atom (with the cell: or on a lattice vector, in ASE's measure), eV/Angstrom.
        energy: eV.
    """

    atoms: Atoms
    converged: bool
    steps: int
    largest_force: float
    energy: float


def relax(
    atoms: Atoms,
    calculator: Any,
    fmax: float = 0.01,
    max_steps: int = 500,
    optimizer: OptimizerName = "fire",
    on_step: Callable[[int, float], None] | None = None,
    keep_symmetry: bool = False,
) -> Relaxation:
    """Move the atoms downhill until no force is larger than fmax.

    Args:
        atoms: the start; not changed. Its constraints are kept.
        calculator: any ASE calculator.
        fmax: eV/Angstrom.
        max_steps: not converged after these is reported, not raised.
        optimizer: "fire" (safe), "bfgs" or, for many atoms, "lbfgs" (fewer steps near a minimum).
        on_step: called after every step with its number and the largest force.
        keep_symmetry: the space group of the start, found within SYMMETRY_TOLERANCE.

    Raises:
        InputError: arguments that make no sense; what the calculator says of the structure; forces that are
            not finite or beyond FARTHEST, or a volume below SMALLEST, on the way; a symmetry that cannot be kept.
    """
    return _relax(_start(atoms, calculator, keep_symmetry), lambda a: a, fmax, max_steps, optimizer, on_step)


def relax_cell(
    atoms: Atoms,
    calculator: Any,
    fmax: float = 0.01,
    max_steps: int = 500,
    optimizer: OptimizerName = "fire",
    on_step: Callable[[int, float], None] | None = None,
    keep_symmetry: bool = False,
) -> Relaxation:
    """As relax, for positions and cell together, to zero stress (ASE's FrechetCellFilter).

    Raises:
        InputError: as relax, and for a structure that is not periodic in three directions.
    """
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            f"cannot relax the cell of a structure with periodic directions {atoms.pbc.tolist()}: it has no "
            "stress; relax the positions alone"
        )
    return _relax(_start(atoms, calculator, keep_symmetry), FrechetCellFilter, fmax, max_steps, optimizer, on_step)


def _start(atoms: Atoms, calculator: Any, keep_symmetry: bool) -> Atoms:
    start = without_results(atoms)
    if keep_symmetry:
        check_symmetry_can_be_kept(atoms)
        start.set_constraint([*start.constraints, FixSymmetry(start, symprec=SYMMETRY_TOLERANCE)])
    start.calc = calculator
    return start


def check_symmetry_can_be_kept(atoms: Atoms) -> None:
    """Say why the space group of a structure cannot be kept.

    Raises:
        InputError: it is not periodic in three directions; spglib is not installed.
    """
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            f"cannot keep the symmetry of a structure with periodic directions {atoms.pbc.tolist()}: space groups "
            "are of crystals"
        )
    if importlib.util.find_spec("spglib") is None:
        raise InputError("keeping the symmetry needs the package spglib; pip install 'equinet-mlip[properties]'")


def check_arguments(fmax: float, max_steps: int, optimizer: str) -> None:
    """Say that numbers make no sense.

    Raises:
        InputError: they make none.
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {optimizer!r}; there are {', '.join(OPTIMIZERS)}")
    if not (is_number(fmax) and fmax > 0) or not (isinstance(max_steps, Integral) and max_steps >= 0):
        raise InputError(
            f"fmax = {fmax!r} eV/A and {max_steps!r} steps make no sense; give fmax above 0, 0 steps or more"
        )


def _relax(
    atoms: Atoms,
    degrees_of_freedom: Callable[[Atoms], Any],
    fmax: float,
    max_steps: int,
    optimizer: OptimizerName,
    on_step: Callable[[int, float], None] | None,
) -> Relaxation:
    check_arguments(fmax, max_steps, optimizer)
    volume = abs(np.linalg.det(atoms.cell))
    system = degrees_of_freedom(atoms)
    largest, steps = np.inf, 0
    with OPTIMIZERS[optimizer](system, logfile=None) as engine:
        for _ in engine.irun(fmax=fmax, steps=max_steps):
            steps = engine.nsteps
            largest = float(np.sqrt(np.max(np.sum(system.get_forces() ** 2, axis=1))))
            if not largest < FARTHEST:
                raise InputError(
                    f"the relaxation left the model's domain at step {steps}: the largest force is "
                    f"{largest:.3g} eV/A; start from a better structure"
                )
            if abs(np.linalg.det(atoms.cell)) < SMALLEST * volume:
                left = abs(np.linalg.det(atoms.cell))
                raise InputError(
                    f"the cell collapsed at step {steps}: {left:.4g} A^3 of {volume:.4g} A^3 are left; start from "
                    "a better structure, or relax the positions alone"
                )
            if on_step is not None:
                on_step(steps, largest)
    return Relaxation(atoms, bool(largest <= fmax), steps, largest, float(atoms.get_potential_energy()))
