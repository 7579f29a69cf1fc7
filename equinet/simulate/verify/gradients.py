"""Forces, virial and Hessian are derivatives of one energy.

Derivatives are four-point central differences, [f(-2h) - 8 f(-h) + 8 f(h) - f(2h)] / 12h, whose error is of
order h^4 where f is smooth. The longest step belongs to the precision (check.PRECISIONS); shorter ones are tried too,
for some envelopes (XPLOR) leave a jump of the curvature at a distance, which a pair of atoms may cross within a step.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from ase import Atoms

from equinet.simulate.verify.check import (
    Array,
    Check,
    Precision,
    energy_of,
    force_scale,
    forces_of,
    judged,
    not_applicable,
    stress_of,
    virial_of,
    worst,
)

Value = TypeVar("Value", float, Array)

HALVINGS = 5
"""Of the step of a finite difference, at most."""
STOP = 4.0
"""Growth of the change from one step to the next, over the least there was, that ends the halving."""


def forces_are_gradients(
    calculator: Any, atoms: Atoms, precision: Precision, components: int = 24, seed: int = 0
) -> Check:
    """Forces equal -dE/dx by finite differences, for `components` random Cartesian components."""
    forces = forces_of(calculator, atoms).reshape(-1)
    chosen = _choose(len(forces), components, seed)
    step = precision.displacement

    def slope(component: int) -> float:
        return derivative(lambda x: energy_of(calculator, displaced(atoms, component, x)), step)

    slopes = [slope(component) for component in chosen]
    error = float(np.max(np.abs(forces[chosen] + np.array(slopes))))
    scale = force_scale(forces)
    detail = f"{error:.1e} eV/A in {len(chosen)} components, rms force {scale:.2g} eV/A, steps up to {step:g} A"
    return judged("forces = -dE/dx", error / scale, precision.gradient, "rms force", detail)


def virial_is_gradient(calculator: Any, atoms: Atoms, precision: Precision) -> Check:
    """Stress (three periodic directions) and virial (wherever offered) are strain derivatives.

    By finite differences; the six symmetric strains deform positions and cell together, open directions too.
    """
    name, unit = "stress = dE/dstrain", "rms force"
    stress, virial = stress_of(calculator, atoms), virial_of(calculator, atoms)
    if stress is None and virial is None:
        return not_applicable(name, precision.gradient, unit, "the calculator offers neither stress nor virial")

    def slope(i: int, j: int) -> float:
        direction = np.zeros((3, 3))
        direction[i, j] += 0.5
        direction[j, i] += 0.5
        return derivative(lambda x: energy_of(calculator, strained(atoms, x * direction)), precision.strain)

    slopes = np.zeros((3, 3))
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        slopes[i, j] = slopes[j, i] = slope(i, j)
    count, scale = len(atoms), force_scale(forces_of(calculator, atoms))
    errors, words = [], []
    if stress is not None:
        volume = atoms.get_volume()
        error = float(np.max(np.abs(stress - slopes / volume)))
        errors.append(error * volume / count)
        words.append(f"stress {error:.1e} of {np.max(np.abs(slopes)) / volume:.2g} eV/A^3")
    if virial is not None:
        error = float(np.max(np.abs(virial + slopes)))
        errors.append(error / count)
        words.append(f"virial {error:.1e} of {np.max(np.abs(slopes)):.2g} eV")
    detail = f"{', '.join(words)}, steps up to {precision.strain:g}"
    return judged(name, worst(errors) / scale, precision.gradient, unit, detail)


def no_stress_without_cell(calculator: Any, atoms: Atoms, _: Precision) -> Check:
    """A structure without a periodic direction has no stress: asking raises PropertyNotImplementedError."""
    name = "no stress of a molecule"
    if atoms.pbc.any():
        return not_applicable(name, 0.0, "stresses", "the structure is periodic")
    try:
        stress = calculator.get_property("stress", atoms)
    except NotImplementedError as error:
        return judged(name, 0.0, 0.0, "stresses", f"raises {type(error).__name__}")
    return judged(name, 1.0, 0.0, "stresses", f"a stress is given for a molecule: {np.array(stress)}")


def hessian_is_symmetric(
    calculator: Any, atoms: Atoms, precision: Precision, components: int = 12, seed: int = 0
) -> Check:
    """The Hessian by finite differences of forces is symmetric: a block of `components` coordinates."""
    chosen = _choose(3 * len(atoms), components, seed)

    def column(component: int) -> Array:
        def gradient(x: float) -> Array:
            return -forces_of(calculator, displaced(atoms, component, x)).reshape(-1)[chosen]

        return derivative(gradient, precision.displacement)

    hessian = np.array([column(component) for component in chosen])  # [C, C]
    size = float(np.linalg.norm(hessian))
    odd = float(np.linalg.norm(hessian - hessian.T)) / 2
    detail = f"antisymmetric part {odd:.1e} of {size:.2g} eV/A^2, {len(chosen)} coordinates"
    return judged("Hessian is symmetric", odd / max(size, 1e-3), precision.hessian, "relative", detail)


def derivative(function: Callable[[float], Value], step: float) -> Value:
    """First derivative at zero by four-point central differences, with the best of several steps.

    The step is halved until two successive derivatives differ by much more than two before them did: then it is
    rounding that shows. Of the two that agreed best the second is returned (Ridders, Adv. Eng. Softw. 4, 75 (1982)).
    """
    outer = function(2 * step) - function(-2 * step)
    best, answer, previous = np.inf, None, None
    for halving in range(HALVINGS + 1):
        h = step * 0.5**halving
        inner = function(h) - function(-h)
        found = (8 * inner - outer) / (12 * h)
        change = np.inf if previous is None else float(np.max(np.abs(found - previous)))
        if not np.all(np.isfinite(found)) or change < best:
            best, answer = change, found
        if not np.all(np.isfinite(found)) or change > STOP * best:
            break
        outer, previous = inner, found
    assert answer is not None  # the second change is finite, or the value is not
    return answer


def displaced(atoms: Atoms, component: int, distance: float) -> Atoms:
    """A copy in which Cartesian component `component` (3 atom + axis) has moved by `distance`, Angstrom."""
    moved = atoms.copy()
    moved.positions[component // 3, component % 3] += distance
    return moved


def strained(atoms: Atoms, strain: Array) -> Atoms:
    """A copy deformed by 1 + strain [3, 3]: positions and every lattice vector."""
    deformed = atoms.copy()
    deformation = np.eye(3) + strain
    deformed.set_cell(atoms.cell.array @ deformation.T)
    deformed.positions = atoms.positions @ deformation.T
    return deformed


def _choose(total: int, count: int, seed: int) -> Array:
    """Indices of `count` different components out of `total`, in order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
