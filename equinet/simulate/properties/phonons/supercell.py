"""The cells of a phonon calculation: as phonopy has them, primitive, and repeated."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.properties.phonons.result import PhononSettings

Matrix = NDArray[np.int64]

SMALLEST = 8.0
"""Angstrom between opposite faces of the first supercell, at least."""
GROWTH = 1.2
"""Of the shortest distance between opposite faces, from one supercell to the next: small steps change little."""
LARGEST_TENSION = 0.01
"""eV/atom, any component of the virial along periodic directions of a slab or wire that counts as relaxed."""
VACUUM = 10.0
"""Angstrom on each side of a slab or wire, for phonopy, to which all cells are periodic; forces know no padding."""


def require_phonopy() -> None:
    """Check that phonopy is there.

    Raises:
        InputError: it is not, with the extra that brings it.
    """
    try:
        import phonopy  # noqa: F401
    except ImportError:
        raise InputError("phonons need the package phonopy; pip install 'equinet-mlip[properties]'") from None


def standing(atoms: Atoms) -> Atoms:
    """The same structure as phonopy and ASE's paths want it.

    Right-handed, the periodic directions first, vacuum along the others; no calculator, no constraints.
    """
    order = _periodic_first(atoms)
    stood = Atoms(atoms.numbers, atoms.positions, masses=atoms.get_masses(), pbc=atoms.pbc[order])
    cell = atoms.cell.complete().array[order]
    stood.cell = cell if np.linalg.det(cell) > 0 else -cell
    for axis in np.flatnonzero(~stood.pbc):
        stood.center(VACUUM, axis=int(axis))
    return stood


def chosen_supercell(atoms: Atoms, repeats: tuple[int, int, int]) -> Matrix:
    """Rows of a supercell in units of the vectors of the cell when it is standing.

    Args:
        atoms: as given.
        repeats: of the cell as given.

    Raises:
        InputError: repeated where it is not periodic.
    """
    if any(n != 1 and not periodic for n, periodic in zip(repeats, atoms.pbc, strict=True)):
        raise InputError(
            f"a supercell of {' x '.join(map(str, repeats))} repeats a direction that is not periodic; the periodic "
            f"ones are {atoms.pbc.tolist()}: give 1 elsewhere"
        )
    return np.diag(np.array(repeats, dtype=np.int64)[_periodic_first(atoms)])


def _periodic_first(atoms: Atoms) -> NDArray[np.intp]:
    return np.argsort(~atoms.pbc, kind="stable")


def check_tension(atoms: Atoms, source: str) -> None:
    """Check that the cell of a slab or wire is relaxed, in its periodic directions.

    Only where the calculator knows the virial, as equinet's does: there is no stress without a volume.

    Args:
        atoms: with its calculator.
        source: what it is called in an error.

    Raises:
        InputError: it is not, with how to get there.
    """
    atoms.get_potential_energy()
    virial = atoms.calc.results.get("virial")
    if virial is None:
        return
    across = np.linalg.svd(atoms.cell.array[atoms.pbc])[2][: atoms.pbc.sum()]  # a basis of the periodic directions
    tension = float(abs(across @ virial @ across.T).max()) / len(atoms)
    if tension > LARGEST_TENSION:
        raise InputError(
            f"{source} is under tension: its virial is up to {tension:.3g} eV/atom along periodic directions, above "
            f"{LARGEST_TENSION:g}; relax its cell first (equinet relax --cell with vacuum, three directions periodic)"
        )


def phonopy_cell(atoms: Atoms) -> Any:
    """A structure as phonopy has it."""
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(wrap=False),
        masses=atoms.get_masses(),
    )


def ase_atoms(cell: Any, pbc: NDArray[np.bool_]) -> Atoms:
    """A structure of phonopy's as ASE has it, periodic as the given one was."""
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, masses=cell.masses, pbc=pbc)


def phonopy_of(atoms: Atoms, rows: Matrix, settings: PhononSettings) -> Any:
    """A Phonopy object.

    Args:
        atoms: standing.
        rows: [3, 3] of the supercell, in units of the cell's vectors.
        settings: with the tolerance of symmetry.

    Raises:
        InputError: no symmetry can be found.
    """
    from phonopy import Phonopy

    cell = phonopy_cell(atoms)
    primitive = _primitive(atoms, cell, settings)
    with warnings.catch_warnings():  # said below, once
        warnings.filterwarnings(
            "ignore", "Warning: Point group symmetries of supercell and primitivecell are different"
        )
        return Phonopy(cell, rows.T, primitive, symprec=settings.symmetry_tolerance_angstrom)  # columns, not rows


def _primitive(atoms: Atoms, cell: Any, settings: PhononSettings) -> Any:
    """Columns of the primitive cell in units of the cell's vectors; the cell itself if it is one."""
    from phonopy.structure.cells import guess_primitive_matrix
    from spglib import SpglibError

    try:
        found = guess_primitive_matrix(cell, symprec=settings.symmetry_tolerance_angstrom)
    except SpglibError as error:
        raise InputError(
            f"phonopy finds no symmetry within {settings.symmetry_tolerance_angstrom:g} A ({error}); look for atoms "
            "at one place, or change the tolerance"
        ) from error
    if not atoms.pbc.all() or np.linalg.det(found) > 0.99:  # the axes of a slab must stay where they are
        return np.eye(3)
    return found


def growing_supercells(atoms: Atoms, settings: PhononSettings) -> Iterator[Matrix]:
    """Rows of supercells, in units of the cell's vectors, from small to large.

    Conventional cells are repeated where the given cell is primitive, for they are rounder; in periodic directions
    only.

    Args:
        atoms: standing.
        settings: with the largest number of atoms.

    Raises:
        InputError: even the smallest has too many atoms.
    """
    base = _conventional(atoms, settings) if atoms.pbc.all() else np.eye(3, dtype=np.int64)
    cell = base @ atoms.cell.array
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)  # between opposite faces
    repeats = np.where(atoms.pbc, np.ceil(SMALLEST / heights - 1e-9), 1).astype(np.int64)
    inside = len(atoms) * round(np.linalg.det(base))
    if inside * repeats.prod() > settings.max_atoms:
        raise InputError(
            f"the smallest supercell, {SMALLEST:g} A across, has {inside * repeats.prod()} atoms, more than "
            f"{settings.max_atoms}; raise --max-atoms, or choose a supercell with --supercell"
        )
    while inside * repeats.prod() <= settings.max_atoms:
        yield repeats[:, None] * base
        across = GROWTH * (repeats * heights)[atoms.pbc].min()
        repeats = np.where(atoms.pbc, np.maximum(repeats, np.ceil(across / heights - 1e-9)), 1).astype(np.int64)


def _conventional(atoms: Atoms, settings: PhononSettings) -> Matrix:
    """Rows of the conventional cell in units of the cell's vectors; the cell itself where it has no such multiple."""
    dataset = phonopy_of(atoms, np.eye(3, dtype=np.int64), settings).symmetry.dataset
    rows = np.linalg.inv(dataset.transformation_matrix).T  # spglib's turns columns of the standard cell into ours
    whole = np.rint(rows).astype(np.int64)
    fits = abs(rows - whole).max() < 1e-3 and round(np.linalg.det(whole)) > 0
    return whole if fits else np.eye(3, dtype=np.int64)


def mesh_of(primitive: Any, pbc: NDArray[np.bool_], length: float) -> tuple[int, int, int]:
    """Numbers of q points along the reciprocal vectors, as many as layers in a length, Angstrom; 1 if not periodic."""
    reciprocal = np.linalg.norm(np.linalg.inv(primitive.cell), axis=0)
    first, second, third = np.where(pbc, np.maximum(1, np.rint(length * reciprocal)), 1).astype(int).tolist()
    return first, second, third
