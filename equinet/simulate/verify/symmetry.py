"""Energy is a scalar, forces are vectors, the virial is a tensor; atoms have no names; far pieces add up."""

from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from equinet.simulate.verify.check import (
    Array,
    Check,
    Outcome,
    Precision,
    evaluate,
    force_scale,
    judged,
    scaled_error,
    worst,
)

FAR = 200.0
"""Distance of a copy that must not be felt, Angstrom."""


def rotation(calculator: Any, atoms: Atoms, precision: Precision, seed: int = 0) -> Check:
    """A random proper rotation of positions and cell turns forces and virial, and nothing else."""
    return _orthogonal("rotation", calculator, atoms, precision, _random_rotation(seed))


def reflection(calculator: Any, atoms: Atoms, precision: Precision, seed: int = 0) -> Check:
    """A random improper rotation (the cell changes hands too) turns forces and virial, and nothing else.

    A calculator whose attribute ``mirror_symmetric`` is False does not claim this: it is measured, not judged.
    """
    found = _orthogonal("reflection", calculator, atoms, precision, -_random_rotation(seed))
    if getattr(calculator, "mirror_symmetric", True):
        return found
    return replace(found, passed=None, detail=f"not claimed, features of SO(3): {found.detail}")


def translation(calculator: Any, atoms: Atoms, precision: Precision, seed: int = 0) -> Check:
    """A rigid shift, and any lattice vector added to any atom, change nothing; the net force is zero."""
    rng = np.random.default_rng(seed)
    hops = rng.integers(-1, 2, (len(atoms), 3)) * atoms.pbc  # [N, 3]
    moved = atoms.copy()
    moved.positions += hops @ atoms.cell.array + rng.uniform(-5, 5, 3)
    expected = evaluate(calculator, atoms)
    error, words = scaled_error(evaluate(calculator, moved), expected)
    net = float(np.max(np.abs(expected.forces.sum(axis=0))))
    value = worst([error, net / force_scale(expected.forces)])
    return judged("translation", value, precision.symmetry, "rms force", f"{words}; net {net:.1e} eV/A")


def permutation(calculator: Any, atoms: Atoms, precision: Precision, seed: int = 0) -> Check:
    """Atoms listed in another order have the same energy and virial, and the same forces in that order."""
    order = np.random.default_rng(seed).permutation(len(atoms))
    expected = evaluate(calculator, atoms)
    expected = Outcome(expected.energy, expected.forces[order], expected.virial)
    error, words = scaled_error(evaluate(calculator, atoms[order]), expected)
    return judged("permutation", error, precision.symmetry, "rms force", words)


def extensivity(calculator: Any, atoms: Atoms, precision: Precision) -> Check:
    """Two of everything has twice the energy and virial and the same forces.

    A supercell doubled along a periodic direction; a copy 200 Angstrom away along an open one.
    """
    single = evaluate(calculator, atoms)
    expected = Outcome(
        2 * single.energy,
        np.concatenate([single.forces, single.forces]),
        None if single.virial is None else 2 * single.virial,
    )
    errors, words = [], []
    if atoms.pbc.any():
        axis = int(np.argmax(atoms.pbc))
        doubled = atoms.repeat([2 if direction == axis else 1 for direction in range(3)])
        error, text = scaled_error(evaluate(calculator, doubled), expected)
        errors.append(error)
        words.append(f"supercell: {text}")
    if not atoms.pbc.all():
        copy = atoms.copy()
        copy.positions += FAR * _open_direction(atoms)
        error, text = scaled_error(evaluate(calculator, atoms + copy), expected)
        errors.append(error)
        words.append(f"far copy: {text}")
    return judged("extensivity", worst(errors), precision.symmetry, "rms force", "; ".join(words))


def _orthogonal(name: str, calculator: Any, atoms: Atoms, precision: Precision, matrix: Array) -> Check:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    expected = evaluate(calculator, atoms)
    virial = None if expected.virial is None else matrix @ expected.virial @ matrix.T
    expected = Outcome(expected.energy, expected.forces @ matrix.T, virial)
    error, words = scaled_error(evaluate(calculator, turned), expected)
    return judged(name, error, precision.symmetry, "rms force", words)


def _random_rotation(seed: int) -> Array:
    """A proper rotation [3, 3] drawn uniformly (QR of a Gaussian matrix; Mezzadri, math-ph/0609050)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def _open_direction(atoms: Atoms) -> Array:
    """A unit vector [3] orthogonal to every periodic lattice vector."""
    periodic = atoms.cell.array[atoms.pbc]  # [P, 3], P < 3
    _, _, rows = np.linalg.svd(np.concatenate([periodic, np.zeros((3 - len(periodic), 3))]))
    return rows[-1]
