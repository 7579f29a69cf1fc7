"""Cells with open directions: what a neighbour search and a volume need of them."""

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError


def complete_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the cell with every open direction's row replaced by a unit vector normal to the periodic rows.

    What stands in the row of an open direction is padding or zero, and must not matter; the caller's array is never
    written to.

    Args:
        cell: [3, 3], rows are lattice vectors, Angstrom; rows of open directions may be anything.
        pbc: [3], which directions are periodic.

    Returns:
        [3, 3], non-singular, with the periodic rows unchanged.

    Raises:
        InputError: if the periodic rows are not finite, zero or linearly dependent.
    """
    periodic = np.flatnonzero(pbc)
    rows = np.asarray(cell, dtype=np.float64)[periodic]  # [n, 3]
    lengths = np.linalg.norm(rows, axis=1)
    missing = periodic[~(np.isfinite(lengths) & (lengths >= 1e-8))]
    if len(missing):
        raise InputError(
            f"periodic direction {'abc'[missing[0]]} has no finite, non-zero cell vector; "
            "give the cell, or set pbc to False along that direction"
        )
    # the singular vectors that span the null space of the periodic rows are the normals we need
    _, singular_values, right = np.linalg.svd(rows / lengths[:, None], full_matrices=True)
    if len(periodic) and singular_values[-1] < 1e-6:
        raise InputError("the periodic cell vectors are linearly dependent; correct the cell or pbc")
    complete = np.empty((3, 3))
    complete[periodic] = rows
    complete[np.flatnonzero(~np.asarray(pbc, dtype=bool))] = right[len(periodic) :]
    return complete


def heights(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances between opposite faces of a non-singular cell, [3] Angstrom."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))
