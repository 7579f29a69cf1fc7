"""The structure that a property is computed of: at a minimum, as the formulas suppose."""

from typing import Any, Literal

import numpy as np
from ase import Atoms

from equinet.errors import InputError
from equinet.simulate.output import without_results
from equinet.simulate.relaxation import relax, relax_cell
from equinet.units import EV_PER_A3_IN_GPA

Degrees = Literal["nothing", "positions", "cell"]
"""What is relaxed first; the cell together with the positions."""

LARGEST_FORCE = 0.01
"""eV/Angstrom, in a structure that counts as relaxed."""

LARGEST_STRESS = 0.1
"""GPa, any component, of a cell that counts as relaxed."""

_FMAX = 1e-4  # eV/Angstrom, after a relaxation of ours: second derivatives want far less than what counts as relaxed
_STEPS = 1000


def starting_structure(
    atoms: Atoms, calculator: Any, first: Degrees = "nothing", stress_free: bool = True, source: str = "the structure"
) -> Atoms:
    """A copy at a minimum, with the calculator.

    Args:
        atoms: of a file; not changed.
        calculator: any ASE calculator.
        first: what is relaxed, to forces below 1e-4 eV/Angstrom, before it is judged.
        stress_free: whether the cell must be relaxed too.
        source: what the structure is called in an error.

    Raises:
        InputError: it is not at a minimum, with what is missing and how to get it; fixed atoms; no three periodic
            directions where the cell must be relaxed; what a relaxation raises.
    """
    if atoms.constraints:
        raise InputError(f"{source}: some atoms or directions are fixed, which a property cannot have; remove them")
    if stress_free:
        check_crystal(atoms, source)
    start = without_results(atoms)
    start.calc = calculator
    if first != "nothing":
        method = relax_cell if first == "cell" else relax
        ended = method(start, calculator, _FMAX, _STEPS, "bfgs")
        if not ended.converged:
            raise InputError(
                f"{source}: not relaxed after {_STEPS} steps: the largest force is {ended.largest_force:.2e} eV/A; "
                "look at it with equinet relax"
            )
        start = ended.atoms
    force = float(np.linalg.norm(start.get_forces(), axis=1).max())
    if force > LARGEST_FORCE:
        raise InputError(
            f"{source} is not at a minimum: the largest force is {force:.3g} eV/A, above {LARGEST_FORCE:g}; relax it "
            "first (equinet relax, or --relax cell or positions)"
        )
    if stress_free:
        stress = float(abs(start.get_stress()).max()) * EV_PER_A3_IN_GPA
        if stress > LARGEST_STRESS:
            raise InputError(
                f"{source} is under stress: up to {stress:.3g} GPa, above {LARGEST_STRESS:g}; relax its cell first "
                "(equinet relax --cell, or --relax cell)"
            )
    return start


def check_crystal(atoms: Atoms, source: str = "the structure") -> None:
    """Say that a structure is no crystal.

    Raises:
        InputError: it is not periodic in three directions, so that it has neither volume nor stress.
    """
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise InputError(
            f"{source} is periodic in directions {atoms.pbc.tolist()} and has no stress; give a crystal with three "
            "periodic directions"
        )
