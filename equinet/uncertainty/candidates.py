"""Frames that could be labelled, told from those that nothing could be learnt from."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equinet.data import Record, graph_from_atoms
from equinet.data.findings import TOO_CLOSE, closest_pair
from equinet.errors import InputError
from equinet.graph import AtomicGraph, atoms_per_graph
from equinet.models import Potential
from equinet.uncertainty.estimate import Estimate, Uncertainty
from equinet.uncertainty.frames import fingerprints

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

EXPLODED = 2.0
"""eV/atom from the median of the frames of the same atoms, either way: what 15000 K would give."""


@dataclass(frozen=True)
class Candidates:
    """What is known of each, [n].

    Attributes:
        index: of the frame among those given.
        forces_std_max: eV/Angstrom, of a force component of the worst atom.
        energy_std: eV, of the structure.
        support_max: of the worst atom; above 1 outside the training data.
        distance: to the nearest labelled frame; infinite where none is given.
    """

    index: NDArray[np.int64]
    forces_std_max: Array
    energy_std: Array
    support_max: Array
    distance: Array


@dataclass(frozen=True)
class LeftOut:
    """Frames that are no candidates, for one reason.

    Attributes:
        reason: as "energies that exploded".
        count: of the frames.
        first: index of the first of them.
        detail: what was wrong with that one; may be "".
    """

    reason: str
    count: int
    first: int
    detail: str


class Screen:
    """Takes frames as they come, and keeps a few numbers of each.

    Args:
        uncertainty: of the model.
    """

    def __init__(self, uncertainty: Uncertainty) -> None:
        self.potential = uncertainty.source.potentials[0]
        self.seen = 0
        """Frames taken."""
        self._used = frozenset(uncertainty.used.tolist())
        self._left_out: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._waiting: deque[tuple[int, bytes]] = deque()  # index and composition, in the order of the graphs
        self._compositions: dict[bytes, int] = {}
        self._rows: list[tuple[float, ...]] = []  # index, composition, energy per atom, and what Candidates has

    def graphs(self, frames: "Iterable[Atoms]") -> Iterator[AtomicGraph]:
        """Of the frames that could be labelled, one by one."""
        for index, atoms in enumerate(frames):
            self.seen += 1
            try:
                graph = graph_of(atoms, self.potential)
                record = Record(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
            except InputError as error:
                self._leave_out("elements or positions that the model cannot take", index, str(error))
                continue
            nearest, closeness = closest_pair(record, TOO_CLOSE)
            if closeness < TOO_CLOSE:
                reason = f"atoms nearer than {TOO_CLOSE:g} of the sum of their covalent radii"
                self._leave_out(reason, index, f"{nearest:.3g} A")
            elif int(fingerprints([record])[0]) in self._used:
                self._leave_out("having been trained or calibrated on", index)
            else:
                self._waiting.append((index, np.sort(record.numbers).tobytes()))
                yield graph

    def add(self, graph: AtomicGraph, estimate: Estimate) -> None:
        """Note what the model says of the next graphs, as a batch."""
        batch = graph.batch.cpu().numpy()
        sizes = atoms_per_graph(graph).cpu().numpy()
        worst = {}
        for name in ("forces_std", "support"):
            worst[name] = np.full(len(sizes), -np.inf)
            np.maximum.at(worst[name], batch, getattr(estimate, name))
        forces = estimate.prediction.forces.cpu().numpy()
        energies = estimate.prediction.energy.cpu().numpy() / sizes
        energies[np.unique(batch[~np.isfinite(forces).all(axis=1)])] = np.nan
        for b, energy in enumerate(energies):
            index, composition = self._waiting.popleft()
            number = self._compositions.setdefault(composition, len(self._compositions))
            std, support = worst["forces_std"][b], worst["support"][b]
            self._rows.append((index, number, energy, std, estimate.energy_std[b], support))

    def candidates(self, distance: Array) -> tuple[Candidates, NDArray[np.bool_]]:
        """Those left, and which they are of all that were added.

        Args:
            distance: of all that were added, to the nearest labelled frame.
        """
        table = np.array(self._rows, dtype=float).reshape(-1, 6)
        index, composition, energy, std, energy_std, support = table.T
        finite = np.isfinite(energy) & ~np.isnan(table).any(axis=1)
        apart = np.zeros(len(table))
        for number in range(len(self._compositions)):
            own = (composition == number) & finite
            if own.any():
                apart[own] = energy[own] - np.median(energy[own])
        sane = finite & (np.abs(apart) <= EXPLODED)
        for row in np.flatnonzero(~finite):
            self._leave_out("energies, forces or error bars that are not finite", int(index[row]))
        for row in np.flatnonzero(finite & ~sane):
            detail = f"{apart[row]:+.3g} eV/atom from the median of such structures"
            self._leave_out("energies that exploded", int(index[row]), detail)
        return Candidates(*(values[sane] for values in (index.astype(int), std, energy_std, support, distance))), sane

    def left_out(self) -> tuple[LeftOut, ...]:
        """By reason, in the order in which reasons were met."""
        return tuple(LeftOut(reason, len(found), *min(found)) for reason, found in self._left_out.items())

    def _leave_out(self, reason: str, index: int, detail: str = "") -> None:
        self._left_out[reason].append((index, detail))


def graph_of(atoms: "Atoms", potential: Potential) -> AtomicGraph:
    """The graph of a structure.

    Raises:
        InputError: what keeps the potential from it.
    """
    graph = graph_from_atoms(atoms, potential.cutoff)
    potential.check_elements(graph.numbers)
    return graph
