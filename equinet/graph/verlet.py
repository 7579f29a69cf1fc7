"""A neighbour list that lasts for many steps of a simulation (Verlet, Phys. Rev. 159, 98 (1967))."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equinet.errors import InputError, is_number
from equinet.graph.atomic_graph import AtomicGraph, move
from equinet.graph.neighbors import CLOSEST_APPROACH, build_graph
from equinet.graph.periodic import complete_cell
from equinet_kernels import EdgeTopology, edge_topology, edge_vectors


class VerletList:
    """Graphs of one system as it moves: those of :func:`equinet.graph.build_graph`, with fewer searches.

    Pairs are searched up to ``cutoff + skin`` and kept. Later graphs take from them what is nearer than the cutoff now,
    until a pair that was not kept might have come that near: with the same cell, when an atom has moved by half the
    skin. Where the cell changed, by a deformation F of the old one, motion is what is left of it after F, and F itself
    may bring pairs together by its smallest singular value. Atoms that come, go or jump to another image, and other
    periodic directions, begin a new search.

    Args:
        cutoff: of the graphs, Angstrom.
        skin: Angstrom; 0 searches whenever anything has moved.
        device: of the graphs; the pairs stay there.

    Attributes:
        searches: how many there were.

    Raises:
        InputError: a skin that is negative or not finite.
    """

    def __init__(self, cutoff: float, skin: float, device: torch.device | str = "cpu") -> None:
        self.cutoff = cutoff
        self.skin = checked_skin(skin)
        self.device = device
        self.searches = 0
        self._search: _Search | None = None

    def graph(self, positions: ArrayLike, numbers: ArrayLike, cell: ArrayLike, pbc: ArrayLike) -> AtomicGraph:
        """The graph of the system as it is now, on the device.

        Args:
            positions: [N, 3], Angstrom.
            numbers: [N], atomic numbers.
            cell: [3, 3], rows are lattice vectors, Angstrom.
            pbc: [3], which directions are periodic.

        Raises:
            InputError: as :func:`equinet.graph.build_graph`.
        """
        # copies: a graph is immutable, but dynamics moves the caller's arrays in place
        positions, cell = np.array(positions, dtype=np.float64, order="C"), np.array(cell, dtype=np.float64)
        numbers, pbc = np.array(numbers, dtype=np.int64), np.array(pbc, dtype=bool)
        search, motion = self._search, None
        if search is not None:
            motion = search.motion(positions, numbers, cell, pbc)
        if search is None or motion is None or not least(search.reach, motion) >= self.cutoff:
            search = self._search = _search(positions, numbers, cell, pbc, self.cutoff + self.skin, self.device)
            motion = Motion(1.0, 0.0)
            self.searches += 1
        pairs = search.pairs._replace(
            positions=torch.from_numpy(positions).to(self.device),
            numbers=torch.from_numpy(numbers).to(self.device),
            cell=torch.from_numpy(cell)[None].to(self.device),
        )
        graph, squares = within(pairs, search.topology, self.cutoff)
        # looked at only where two atoms may have met: it makes the host wait for a GPU
        if least(search.closest, motion) < CLOSEST_APPROACH and float(squares.min()) < CLOSEST_APPROACH**2:
            build_graph(positions, numbers, cell, pbc, self.cutoff)  # it says which atoms
        return graph


class Motion(NamedTuple):
    """What has become of a system since a search: a deformation of the cell, and displacements beside it."""

    shrinkage: float  # smallest singular value of the deformation
    farthest: float  # largest displacement of an atom, Angstrom


def least(distance: float, motion: Motion) -> float:
    """How near a pair of atoms at a distance, Angstrom, or farther can be after a motion.

    Its vector v is now v F + d - d', with the displacements d and d' of its atoms beside the deformation F.
    """
    return motion.shrinkage * distance - 2.0 * motion.farthest


def within(pairs: AtomicGraph, topology: EdgeTopology, cutoff: float) -> tuple[AtomicGraph, Tensor]:
    """The graph of those pairs that are nearer than a cutoff, and the squared distances of all, [E] Angstrom^2."""
    vectors = edge_vectors(pairs.positions, pairs.cell, pairs.batch, pairs.images, topology)  # [E, 3]
    squares = (vectors * vectors).sum(dim=1)  # [E]
    near = torch.nonzero(squares < cutoff**2).squeeze(1)
    graph = pairs._replace(
        senders=pairs.senders.index_select(0, near),
        receivers=pairs.receivers.index_select(0, near),
        images=pairs.images.index_select(0, near),
    )
    return graph, squares


def closest_pair(pairs: AtomicGraph, topology: EdgeTopology) -> float:
    """Distance of the nearest two atoms of a pair, Angstrom; infinite where there are no pairs."""
    vectors = edge_vectors(pairs.positions, pairs.cell, pairs.batch, pairs.images, topology)
    return float(torch.linalg.vector_norm(vectors, dim=1).min()) if len(vectors) else np.inf


def checked_skin(skin: float) -> float:
    """The skin, if it is one.

    Raises:
        InputError: it is negative or not finite.
    """
    if not (is_number(skin) and skin >= 0):
        raise InputError(f"the skin must be 0 or a positive length, got {skin!r}")
    return skin


class _Search(NamedTuple):
    """The pairs of a system within a reach, and the system as it was."""

    positions: NDArray[np.float64]  # [N, 3]
    cell: NDArray[np.float64]  # [3, 3]
    pbc: NDArray[np.bool_]  # [3]
    reach: float
    closest: float  # distance of a pair, infinite where there is none
    pairs: AtomicGraph
    topology: EdgeTopology

    def motion(
        self,
        positions: NDArray[np.float64],
        numbers: NDArray[np.int64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
    ) -> Motion | None:
        """What has happened since; None where atoms came or went, other directions are periodic or the cell is none."""
        if positions.shape != self.positions.shape or numbers.shape != positions.shape[:1]:
            return None
        if cell.shape != (3, 3) or not np.isfinite(cell).all() or not np.array_equal(pbc, self.pbc):
            return None
        before, shrinkage = self.positions, 1.0
        if not np.array_equal(cell, self.cell):
            deformation = np.linalg.solve(complete_cell(self.cell, pbc), complete_cell(cell, pbc))
            before = before @ deformation
            shrinkage = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        return Motion(shrinkage, float(np.sqrt(((positions - before) ** 2).sum(axis=1).max())))


def _search(
    positions: NDArray[np.float64],
    numbers: NDArray[np.int64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    reach: float,
    device: torch.device | str,
) -> _Search:
    """Search the pairs."""
    pairs = move(build_graph(positions, numbers, cell, pbc, reach), device)
    topology = edge_topology(pairs.senders, pairs.receivers, len(positions))
    return _Search(positions, cell, pbc, reach, closest_pair(pairs, topology), pairs, topology)
