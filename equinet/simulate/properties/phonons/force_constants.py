"""Force constants of a supercell: from finite displacements, or from the analytic Hessian."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import move
from equinet.simulate.calculator import Calculator
from equinet.simulate.prediction import predict
from equinet.simulate.properties.phonons.supercell import ase_atoms

Array = NDArray[np.float64]
OnStructure = Callable[[int], None]


def forces_of(structures: Sequence[Atoms], calculator: Any, on_structure: OnStructure | None = None) -> list[Array]:
    """Forces on the atoms of many structures, eV/Angstrom; in batches where the calculator is equinet's.

    Args:
        structures: without calculators.
        calculator: any ASE calculator.
        on_structure: called with the number of structures done so far.
    """
    if isinstance(calculator, Calculator):
        return [result.forces for result in predict(calculator.potential, structures, on_batch=on_structure)]
    forces = []
    for atoms in structures:
        forces.append(np.array(calculator.get_property("forces", atoms)))
        if on_structure is not None:
            on_structure(len(forces))
    return forces


def from_displacements(
    phonon: Any,
    pbc: NDArray[np.bool_],
    calculator: Any,
    distance: float,
    on_structure: OnStructure | None = None,
) -> Array:
    """Put force constants from finite displacements into a Phonopy object, not symmetrised yet.

    Args:
        phonon: with its supercell.
        pbc: of the structure.
        calculator: any ASE calculator.
        distance: of each displacement, Angstrom.
        on_structure: called with the number of structures done so far.

    Returns:
        [A, N, 3, 3] eV/Angstrom^2 for the A atoms of the primitive cell and the N of the supercell: a copy.
    """
    phonon.generate_displacements(distance=distance)
    structures = [ase_atoms(cell, pbc) for cell in phonon.supercells_with_displacements]
    phonon.forces = forces_of(structures, calculator, on_structure)
    phonon.produce_force_constants(calculate_full_force_constants=False)
    return np.array(phonon.force_constants)


def from_hessian(phonon: Any, pbc: NDArray[np.bool_], calculator: Any) -> Array:
    """Put force constants from the analytic Hessian into a Phonopy object, not symmetrised yet; as from_displacements.

    Only the rows of the primitive cell's atoms are computed.

    Raises:
        InputError: the calculator is not equinet's.
    """
    phonon.force_constants = hessian(
        ase_atoms(phonon.supercell, pbc), calculator, [int(atom) for atom in phonon.primitive.p2s_map]
    )
    return np.array(phonon.force_constants)


def hessian(atoms: Atoms, calculator: Any, rows: Sequence[int] | None = None) -> Array:
    """Analytic second derivatives of the energy, [A, N, 3, 3] eV/Angstrom^2, of the atoms given by rows and all.

    Raises:
        InputError: the calculator is not equinet's; a GPU's memory does not suffice.
    """
    if not isinstance(calculator, Calculator):
        raise InputError("only equinet's potentials have an analytic Hessian; use the method displacements")
    potential = calculator.potential
    graph = move(graph_from_atoms(atoms, potential.cutoff), calculator.device)
    try:
        values = potential.hessian(graph, atoms=rows).cpu().numpy()
    except torch.OutOfMemoryError:
        raise InputError(
            f"the Hessian of {len(atoms)} atoms does not fit into the memory of {calculator.device}; choose a smaller "
            "supercell, or displacements"
        ) from None
    return np.ascontiguousarray(values.reshape(-1, 3, len(atoms), 3).transpose(0, 2, 1, 3))


def sum_rule_residual(force_constants: Array, phonon: Any) -> float:
    """Largest component of the sum of force constants over either atom, eV/Angstrom^2."""
    primitive = phonon.primitive
    # the sum over the first atom is over images of the second: a translation carries one into the other
    of = np.array([primitive.p2p_map[int(atom)] for atom in primitive.s2p_map])
    first = [force_constants[:, of == atom].sum(axis=(0, 1)) for atom in range(len(force_constants))]
    return float(max(abs(np.array(first)).max(), abs(force_constants.sum(axis=1)).max()))
