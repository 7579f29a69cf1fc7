"""From positions to a graph: vesin finds the pairs; checks, images and edge order are ours."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from equinet.errors import InputError
from equinet.graph.atomic_graph import AtomicGraph
from equinet.graph.periodic import complete_cell, heights

CLOSEST_APPROACH = 1e-4
"""Angstrom. Atoms nearer than this are one atom given twice: no electronic-structure code returns such a frame."""

THINNEST = 0.1
"""Angstrom. Least distance between periodic images: anything thinner is a mistake, and has countless neighbours."""


def build_graph(
    positions: ArrayLike, numbers: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float
) -> AtomicGraph:
    """Build the graph of one structure.

    Any mix of periodic directions, triclinic and left-handed cells, cells smaller than the cutoff (an atom then
    neighbours its own images), atoms outside the cell, isolated atoms.

    Args:
        positions: [N, 3], Angstrom.
        numbers: [N], atomic numbers.
        cell: [3, 3], rows are lattice vectors, Angstrom; rows of open directions may be zero.
        pbc: [3], which directions are periodic.
        cutoff: neighbours are atoms nearer than this, Angstrom.

    Returns:
        A graph of one structure (B = 1), on the CPU.

    Raises:
        InputError: no atoms; shapes that do not fit; NaN or infinite positions or cell; two atoms at one
            place; a periodic direction without a cell vector; periodic cell vectors that are linearly
            dependent; a cutoff that is not a positive number.
    """
    # copies: a graph is immutable, but dynamics moves the caller's arrays in place
    positions = np.array(positions, dtype=np.float64, order="C")
    numbers = np.array(numbers, dtype=np.int64)
    cell = np.array(cell, dtype=np.float64)
    pbc = np.array(pbc, dtype=bool)
    if positions.ndim != 2 or positions.shape[1:] != (3,) or numbers.shape != positions.shape[:1]:
        raise InputError(f"positions must be [N, 3] and numbers [N], got {positions.shape} and {numbers.shape}")
    if cell.shape != (3, 3) or pbc.shape != (3,):
        raise InputError(f"cell must be [3, 3] and pbc [3], got {cell.shape} and {pbc.shape}")
    if len(positions) == 0:
        raise InputError("a structure has no atoms; remove it")
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        atom = int(np.flatnonzero(~finite)[0])
        raise InputError(f"the position of atom {atom} is not finite ({positions[atom]}); correct or remove it")
    if not np.isfinite(cell).all():  # along open directions too: image 0 times NaN is NaN
        raise InputError(f"the cell is not finite ({cell.tolist()}); correct it (rows of open directions may be 0)")
    if not 0 < cutoff < np.inf:
        raise InputError(f"the cutoff must be positive and finite, got {cutoff}")

    receivers, senders, images, distances = _pairs(positions, cell, pbc, cutoff)
    _refuse_coincident(receivers, senders, distances)
    order = np.lexsort((images[:, 2], images[:, 1], images[:, 0], senders, receivers))
    return AtomicGraph(
        positions=torch.from_numpy(positions),
        numbers=torch.from_numpy(numbers),
        cell=torch.from_numpy(cell)[None],
        pbc=torch.from_numpy(pbc)[None],
        batch=torch.zeros(len(positions), dtype=torch.int64),
        senders=torch.from_numpy(senders[order]),
        receivers=torch.from_numpy(receivers[order]),
        images=torch.from_numpy(images[order]),
    )


class Neighbors(NamedTuple):
    """How many neighbours the atoms of a structure have, and how near the nearest two are."""

    counts: NDArray[np.int64]  # [N]
    shortest: float  # Angstrom; infinite where there are none


def count_neighbors(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> Neighbors:
    """Count the edges at each atom, and find the shortest, without building the graph.

    Args:
        positions: [N, 3] finite, Angstrom, N > 0.
        cell: [3, 3] finite, rows are lattice vectors, Angstrom.
        pbc: [3].
        cutoff: Angstrom, positive.

    Returns:
        Counts [N], whose sum is the number of edges of :func:`build_graph`; and the shortest distance.

    Raises:
        InputError: two atoms at one place; a periodic direction without a cell vector, or cell vectors that are
            linearly dependent.
    """
    receivers, senders, _, distances = _pairs(positions, cell, pbc, cutoff)
    _refuse_coincident(receivers, senders, distances)
    shortest = float(distances.min()) if len(distances) else float("inf")
    return Neighbors(np.bincount(receivers, minlength=len(positions)), shortest)


def pair_distances(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find all pairs of atoms nearer than the cutoff, both ways round, however near.

    Args:
        positions: [N, 3] finite, Angstrom, N > 0.
        cell: [3, 3] finite, rows are lattice vectors, Angstrom.
        pbc: [3].
        cutoff: Angstrom, positive.

    Returns:
        Receivers [E], senders [E] and distances [E] in Angstrom.

    Raises:
        InputError: a periodic direction without a cell vector, or cell vectors that are linearly dependent.
    """
    receivers, senders, _, distances = _pairs(positions, cell, pbc, cutoff)
    return receivers, senders, distances


def _pairs(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Receivers [E], senders [E], periodic images [E, 3] and distances [E] of all pairs, in vesin's order."""
    if not pbc.any() and len(positions) == 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros(0)
    complete = complete_cell(cell, pbc)
    thinnest = heights(complete)[pbc].min(initial=np.inf)
    if thinnest < THINNEST:
        raise InputError(f"the cell is {thinnest:.1e} A thin along a periodic direction; is it in Angstrom?")
    receivers, senders, images, distances = NeighborList(cutoff=float(cutoff), full_list=True, n_threads=1).compute(
        positions, complete, pbc, quantities="ijSd"
    )
    first, second, third = (np.asarray(values).astype(np.int64) for values in (receivers, senders, images))
    return first, second, third, np.asarray(distances)


def _refuse_coincident(
    receivers: NDArray[np.int64], senders: NDArray[np.int64], distances: NDArray[np.float64]
) -> None:
    if len(distances) and distances.min() < CLOSEST_APPROACH:
        pair = int(distances.argmin())
        raise InputError(
            f"atoms {int(receivers[pair])} and {int(senders[pair])} are at one place "
            f"({distances[pair]:.1e} A apart); remove one of them"
        )
