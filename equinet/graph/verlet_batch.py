"""A neighbour list that lasts for many steps of many simulations at once (:mod:`equinet.graph.verlet` has one's)."""

from typing import NamedTuple

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.graph.atomic_graph import AtomicGraph, collate, move
from equinet.graph.neighbors import CLOSEST_APPROACH, build_graph
from equinet.graph.verlet import Motion, checked_skin, closest_pair, least, within
from equinet_kernels import EdgeTopology, edge_topology


class VerletBatch:
    """Graphs of a batch of systems as they move: those of :func:`equinet.graph.build_graph`, with fewer searches.

    Everything but the search itself happens on the device, for all systems at once. All are searched anew when an atom
    of any has moved by half the skin (or a cell as much, see :class:`equinet.graph.VerletList`), when systems come or
    go, and when the cell of one with open directions changes. An atom that is wrapped back into its cell has not moved.

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

    def graph(self, positions: Tensor, numbers: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor) -> AtomicGraph:
        """The graph of the B systems as they are now, on the device.

        Args:
            positions: [N, 3], Angstrom; any precision, as all arguments, and any device.
            numbers: [N], atomic numbers.
            cell: [B, 3, 3], rows are lattice vectors, Angstrom.
            pbc: [B, 3], which directions are periodic.
            batch: [N], the system of each atom, non-decreasing.

        Raises:
            InputError: as :func:`equinet.graph.build_graph`, with the number of the system; shapes that do not fit.
        """
        if numbers.shape != batch.shape or positions.shape != (*batch.shape, 3) or pbc.shape != (len(cell), 3):
            shapes = ", ".join(str(tuple(values.shape)) for values in (positions, numbers, batch, cell, pbc))
            raise InputError(
                f"positions must be [N, 3], numbers and batch [N], cell [B, 3, 3] and pbc [B, 3], got {shapes}"
            )
        # copies: a graph is immutable, but dynamics moves the caller's tensors in place
        positions = positions.detach().to(self.device, torch.float64, copy=True)
        cell = cell.detach().to(self.device, torch.float64, copy=True).contiguous()
        numbers, batch = (values.to(self.device, torch.int64, copy=True) for values in (numbers, batch))
        pbc = pbc.to(self.device, torch.bool, copy=True)
        search, change = self._search, None
        if search is not None:
            change = search.change(positions, cell, pbc, batch)
        if search is None or change is None or not least(search.reach, change.motion) >= self.cutoff:
            pairs = _searched(positions, numbers, cell, pbc, batch, self.cutoff + self.skin)
            search = self._search = _kept(move(pairs, self.device), self.cutoff + self.skin)
            change = _Change(Motion(1.0, 0.0), None)
            self.searches += 1
        now = search.pairs._replace(positions=positions, numbers=numbers, cell=cell)
        if change.jumps is not None:  # the images of a pair all change by as much: they stay in order
            of_receivers, of_senders = (change.jumps.index_select(0, atoms) for atoms in (now.receivers, now.senders))
            now = now._replace(images=now.images + of_receivers - of_senders)
        graph, squares = within(now, search.topology, self.cutoff)
        # looked at only where two atoms may have met: it makes the host wait for a GPU
        if least(search.closest, change.motion) < CLOSEST_APPROACH and float(squares.min()) < CLOSEST_APPROACH**2:
            _searched(positions, numbers, cell, pbc, batch, self.cutoff)  # it says which atoms
        return graph


class _Change(NamedTuple):
    """What has become of a batch since a search."""

    motion: Motion  # the most of any system
    jumps: Tensor | None  # [N, 3] int64, lattice translations that atoms made beside it; None where none did


class _Search(NamedTuple):
    """The pairs of a batch within a reach, with the systems as they were."""

    pairs: AtomicGraph
    topology: EdgeTopology
    reach: float
    closest: float  # distance of a pair, infinite where there is none
    periods: Tensor  # [B, 3, 3], see _periods

    def change(self, positions: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor) -> _Change | None:
        """What has happened since; None where these are other systems, or a cell's change says nothing of its atoms."""
        before = self.pairs
        if positions.shape != before.positions.shape or cell.shape != before.cell.shape:
            return None
        if not (torch.equal(batch, before.batch) and torch.equal(pbc, before.pbc)):
            return None
        displacements, shrinkage, periods = positions - before.positions, 1.0, self.periods
        if not torch.equal(cell, before.cell):
            if not (bool(pbc.all()) and bool(torch.isfinite(cell).all())):
                return None
            deformation = torch.linalg.solve(before.cell, cell)  # [B, 3, 3]
            displacements = positions - _transformed(before.positions, deformation, batch)
            shrinkage, periods = float(torch.linalg.svdvals(deformation).min()), _periods(cell, pbc)
        jumps = _transformed(displacements, periods, batch).round()  # [N, 3]
        jumped = bool(jumps.any())
        if jumped:
            displacements = displacements - _transformed(jumps, cell, batch)
        farthest = float(torch.linalg.vector_norm(displacements, dim=1).max())
        return _Change(Motion(shrinkage, farthest), jumps.to(torch.int64) if jumped else None)


def _transformed(rows: Tensor, matrices: Tensor, batch: Tensor) -> Tensor:
    """Rows [N, 3] of atoms times the matrices [B, 3, 3] of their systems."""
    return torch.bmm(rows.unsqueeze(1), matrices.index_select(0, batch)).squeeze(1)


def _periods(cell: Tensor, pbc: Tensor) -> Tensor:
    """Matrices [B, 3, 3] that take a displacement to how many lattice vectors it is along each; 0 along open ones."""
    return torch.linalg.pinv(cell * pbc.unsqueeze(2))


def _kept(pairs: AtomicGraph, reach: float) -> _Search:
    """What is kept of a search."""
    topology = edge_topology(pairs.senders, pairs.receivers, len(pairs.positions))
    closest, periods = closest_pair(pairs, topology), _periods(pairs.cell, pairs.pbc)
    return _Search(pairs, topology, reach, closest, periods)


def _searched(
    positions: Tensor, numbers: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor, reach: float
) -> AtomicGraph:
    """Search the pairs of every system, on the CPU.

    Raises:
        InputError: see :meth:`VerletBatch.graph`.
    """
    positions, numbers, cell, pbc, batch = (values.cpu() for values in (positions, numbers, cell, pbc, batch))
    systems = len(cell)
    if len(batch) and (bool((batch.diff() < 0).any()) or int(batch[0]) < 0 or int(batch[-1]) >= systems):
        raise InputError(f"batch must hold system numbers from 0 to {systems - 1} in ascending order")
    sizes = torch.bincount(batch, minlength=systems).tolist()
    graphs = []
    for system, (x, z) in enumerate(zip(positions.split(sizes), numbers.split(sizes), strict=True)):
        try:
            graphs.append(build_graph(x.numpy(), z.numpy(), cell[system].numpy(), pbc[system].numpy(), reach))
        except InputError as error:
            raise InputError(f"system {system}: {error}") from error
    return collate(graphs)
