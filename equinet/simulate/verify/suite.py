"""All checks on several structures, and the worst of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from equinet.simulate.structures import BUILDERS
from equinet.simulate.verify.check import Check, Precision
from equinet.simulate.verify.conservation import closed_loop_work, energy_drift, energy_fluctuation
from equinet.simulate.verify.gradients import (
    forces_are_gradients,
    hessian_is_symmetric,
    no_stress_without_cell,
    virial_is_gradient,
)
from equinet.simulate.verify.symmetry import extensivity, permutation, reflection, rotation, translation

Function = Callable[[Any, Atoms, Precision], Check]

STATIC_CHECKS: dict[str, Function] = {
    "rotation": rotation,
    "reflection": reflection,
    "translation": translation,
    "permutation": permutation,
    "extensivity": extensivity,
    "forces = -dE/dx": forces_are_gradients,
    "stress = dE/dstrain": virial_is_gradient,
    "no stress of a molecule": no_stress_without_cell,
    "Hessian is symmetric": hessian_is_symmetric,
    "work round a closed loop": closed_loop_work,
}
"""Checks of single structures and their neighbourhood, by the name they report."""

DYNAMIC_CHECKS: dict[str, Function] = {
    "energy error is of order dt^2": energy_fluctuation,
    "drift of the energy": energy_drift,
}
"""Checks that run dynamics: a thousand steps."""

CHECKS = STATIC_CHECKS | DYNAMIC_CHECKS


def built_in_structures(species: Sequence[int], seed: int = 0) -> dict[str, Atoms]:
    """Bulk, slab, wire, molecule and triclinic of the given atomic numbers."""
    return {name: builder(species, seed) for name, builder in BUILDERS.items()}


def rattled(atoms: Atoms, distance: float = 0.05, seed: int = 0) -> Atoms:
    """A copy with every coordinate displaced at random (rms `distance`, Angstrom) and no constraints.

    A perfect crystal passes many a check that its vibrations would fail.
    """
    moved = atoms.copy()
    moved.set_constraint()
    moved.positions += distance * np.random.default_rng(seed).standard_normal((len(atoms), 3))
    return moved


def run_checks(
    calculator: Any,
    structures: Mapping[str, Atoms],
    precision: Precision,
    checks: Mapping[str, Function] = CHECKS,
    on_check: Callable[[int], None] | None = None,
) -> list[Check]:
    """Each check on each structure; one that raises counts as failed and says what was raised.

    Args:
        calculator: any ASE calculator.
        structures: by name.
        precision: thresholds and steps.
        checks: by name; all of them by default.
        on_check: called after each check with the number done so far.
    """
    done = []
    for structure, atoms in structures.items():
        for name, check in checks.items():
            try:
                found = check(calculator, atoms.copy(), precision)
            except Exception as error:  # a rival may raise anything, and that is a result
                words = f"raised {type(error).__name__}: {error}".splitlines()[0]
                found = Check(name, math.nan, math.nan, "", False, words)
            done.append(replace(found, structure=structure))
            if on_check is not None:
                on_check(len(done))
    return done


def worst_of_each(checks: Sequence[Check]) -> list[Check]:
    """One per name: a failed one before a passed one before one that does not apply, then the largest."""
    worst: dict[str, Check] = {}
    for check in checks:
        if check.name not in worst or _badness(check) > _badness(worst[check.name]):
            worst[check.name] = check
    return list(worst.values())


def _badness(check: Check) -> tuple[int, float]:
    rank = {None: 0, True: 1, False: 2}[check.passed]
    value = math.inf if math.isnan(check.value) else check.value
    return rank, value / check.threshold if check.threshold else value
