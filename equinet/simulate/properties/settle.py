"""Relaxations that a property needs on its way: one that does not end is an error, not a number."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from equinet.errors import InputError
from equinet.simulate.relaxation import FARTHEST, relax


def settled(atoms: Atoms, calculator: Any, fmax: float, max_steps: int, what: str) -> Atoms:
    """A copy with relaxed positions, in its cell.

    Args:
        atoms: the start.
        calculator: any ASE calculator.
        fmax: largest force at the end, eV/Angstrom.
        max_steps: before it is given up.
        what: is relaxed, for the error.

    Raises:
        InputError: not converged; what a relaxation raises.
    """
    ended = relax(atoms, calculator, fmax, max_steps, "bfgs")
    if not ended.converged:
        raise _not_converged(what, ended.largest_force, fmax, max_steps)
    return ended.atoms


def settled_at_volume(atoms: Atoms, calculator: Any, fmax: float, max_steps: int, what: str) -> Atoms:
    """A copy with relaxed positions and shape of the cell, at the same volume. See :func:`settled`."""
    start = atoms.copy()
    start.calc = calculator
    system: Any = FrechetCellFilter(start, constant_volume=True)
    largest = np.inf
    with BFGS(system, logfile=None) as engine:
        for _ in engine.irun(fmax=fmax, steps=max_steps):
            largest = float(np.linalg.norm(system.get_forces(), axis=1).max())
            if not largest < FARTHEST:
                raise InputError(
                    f"{what}: the relaxation left the model's domain, the largest force is {largest:.3g} eV/A"
                )
    if largest > fmax:
        raise _not_converged(what, largest, fmax, max_steps)
    return start


def check_relaxation(fmax: float, max_steps: int) -> None:
    """Say what cannot be, before the work starts.

    Raises:
        InputError: fmax is not above 0, or there is no step.
    """
    if not (np.isfinite(fmax) and fmax > 0) or max_steps < 1:
        raise InputError(f"fmax = {fmax} eV/A and {max_steps} steps make no sense; give fmax above 0, 1 step or more")


def _not_converged(what: str, largest: float, fmax: float, max_steps: int) -> InputError:
    return InputError(
        f"{what}: not relaxed after {max_steps} steps: the largest force is {largest:.2e} eV/A, above {fmax:g}; "
        "give --fmax higher or more --max-steps, or look at the structure with equinet relax"
    )
