"""How far a structure is from another, whatever its orientation, origin, mirror image, cell or order of atoms.

Each atom is described by its environment: for every species the sorted distances to that species' atoms, all of them
in a molecule, those within 5 Angstrom in a crystal (missing ones count as distances of 5). The atoms of two structures
are matched such that the squared differences of these distances are least; :func:`distances_differ` is their root mean
square over neighbours, in Angstrom. A supercell and the cell it repeats are 0 apart.

Equal environments do not prove equal structures (Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020)); for finding
frames that a model has as good as seen they are strict enough: thermal frames at 300 K are 0.1 Angstrom apart.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, inf

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from equinet.data import Record, make_example

Array = NDArray[np.float64]
Composition = tuple[tuple[int, int], ...]

CUTOFF = 5.0
"""Angstrom, for structures with periodic directions."""

TWIN = 0.01
"""Angstrom. Below it a frame is a twin: a tenth of the change between two thermal frames, a hundredth of their energy
differences, so that a copied label is about as good as a good potential's."""


@dataclass(frozen=True)
class Nearest:
    """The training frame that is most like a test frame."""

    index: int | None  # in the training frames; None where none is of the same composition and a commensurate size
    distance: float  # Angstrom; infinite where there is none

    @property
    def is_twin(self) -> bool:
        """Whether the training frame is as good as the frame itself."""
        return self.distance < TWIN


def composition(record: Record) -> Composition:
    """Atoms of each species in the smallest formula unit, by atomic number."""
    species, counts = np.unique(record.numbers, return_counts=True)
    unit = gcd(*counts.tolist())
    return tuple((int(z), int(count) // unit) for z, count in zip(species, counts, strict=True))


@dataclass(frozen=True)
class Environments:
    """Sorted distances around each atom of one structure, atoms by species."""

    blocks: tuple[Array, ...]  # for each species [atoms of it, distances]
    order: tuple[NDArray[np.int64], ...]  # which atoms of the structure these are
    neighbours: float  # an atom, on average
    pooled: Array  # all of the species' distances, sorted: their differences are never more than those of matched atoms

    @property
    def atoms(self) -> int:
        """Of the structure."""
        return sum(len(block) for block in self.blocks)

    def repeated(self, times: int) -> "Environments":
        """Those of a supercell."""
        blocks = tuple(np.repeat(block, times, axis=0) for block in self.blocks)
        return Environments(blocks, (), self.neighbours, _pool(blocks))


def describe(records: Sequence[Record], cutoff: float = CUTOFF) -> list[Environments]:
    """Environments of structures of the same composition, comparable with each other."""
    edges = [_edges(record, cutoff) for record in records]
    species = [z for z, _ in composition(records[0])]
    widths = {(z, s): 1 for z in species for s in species}
    for record, (centers, others, _) in zip(records, edges, strict=True):
        for z, s in widths:
            chosen = (record.numbers[centers] == z) & (record.numbers[others] == s)
            counts = np.bincount(centers[chosen], minlength=1)
            widths[z, s] = max(widths[z, s], int(counts.max()))
    return [_environments(record, *e, species, widths, cutoff) for record, e in zip(records, edges, strict=True)]


def distances_differ(a: Environments, b: Environments, times_a: int = 1, times_b: int = 1) -> float:
    """Root mean square over neighbours of the differences of distances, atoms matched; Angstrom."""
    a, b = _same_size(a, b, times_a, times_b)
    total = 0.0
    for left, right in zip(a.blocks, b.blocks, strict=True):
        cost = _squared(left, right)
        rows, columns = linear_sum_assignment(cost)
        total += float(((left[rows] - right[columns]) ** 2).sum())
    return float(np.sqrt(total / (a.atoms * _neighbours(a, b))))


def matching(a: Environments, b: Environments) -> NDArray[np.int64]:
    """For structures of equal size: which atom of b corresponds to each atom of a, [N]."""
    match = np.zeros(a.atoms, dtype=np.int64)
    for left, right, from_a, from_b in zip(a.blocks, b.blocks, a.order, b.order, strict=True):
        rows, columns = linear_sum_assignment(_squared(left, right))
        match[from_a[rows]] = from_b[columns]
    return match


def nearest_frames(test: Sequence[Record], train: Sequence[Record], cutoff: float = CUTOFF) -> list[Nearest]:
    """The nearest training frame of each test frame, exactly: what cannot be nearer than the best is left out.

    Two structures are compared where they have the same composition and one has a whole multiple of the other's atoms.
    """
    found = [Nearest(None, inf) for _ in test]
    groups: dict[Composition, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, records in enumerate((test, train)):
        for index, record in enumerate(records):
            groups[composition(record)][side].append(index)
    for tested, trained in groups.values():
        if tested and trained:
            described = describe([*(test[i] for i in tested), *(train[i] for i in trained)], cutoff)
            for index, environments in zip(tested, described, strict=False):
                best = _nearest(environments, described[len(tested) :])
                found[index] = Nearest(None if best.index is None else trained[best.index], best.distance)
    return found


def _nearest(frame: Environments, others: Sequence[Environments]) -> Nearest:
    """The least distance; candidates in the order of a lower bound of it."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for index, other in enumerate(others):
        sizes[other.atoms].append(index)
    bounds: list[tuple[float, int]] = []
    for size, indices in sizes.items():
        larger, smaller = max(size, frame.atoms), min(size, frame.atoms)
        if larger % smaller:
            continue
        here = frame.repeated(larger // frame.atoms).pooled
        step = larger // size
        there = np.stack([others[i].pooled if step == 1 else others[i].repeated(step).pooled for i in indices])
        neighbours = 0.5 * (frame.neighbours + np.array([others[i].neighbours for i in indices]))
        bound = np.sqrt(((there - here) ** 2).sum(axis=1) / (larger * np.maximum(neighbours, 1.0)))
        bounds += zip(bound.tolist(), indices, strict=True)
    best = Nearest(None, inf)
    for bound, index in sorted(bounds):
        if bound >= best.distance:
            break
        other = others[index]
        larger = max(other.atoms, frame.atoms)
        distance = distances_differ(frame, other, larger // frame.atoms, larger // other.atoms)
        if distance < best.distance:
            best = Nearest(index, distance)
    return best


def _edges(record: Record, cutoff: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """(center, neighbour, distance) of every pair, both ways; all pairs where nothing is periodic."""
    if record.pbc.any():
        graph = make_example(record, cutoff).graph
        senders, receivers = graph.senders.numpy(), graph.receivers.numpy()
        positions, shifts = graph.positions.numpy(), graph.images.numpy() @ graph.cell[0].numpy()
        return receivers, senders, np.linalg.norm(positions[senders] + shifts - positions[receivers], axis=1)
    centers, others = np.nonzero(~np.eye(len(record.numbers), dtype=bool))
    return centers, others, np.linalg.norm(record.positions[centers] - record.positions[others], axis=1)


def _environments(
    record: Record,
    centers: NDArray[np.int64],
    others: NDArray[np.int64],
    lengths: Array,
    species: Sequence[int],
    widths: dict[tuple[int, int], int],
    cutoff: float,
) -> Environments:
    far = cutoff if record.pbc.any() else 0.0  # molecules of one composition and size have equal numbers of pairs
    ranked = np.lexsort((lengths, record.numbers[others], centers))
    centers, others, lengths = centers[ranked], others[ranked], lengths[ranked]
    blocks, order = [], []
    for z in species:
        atoms = np.flatnonzero(record.numbers == z)
        parts = []
        for s in species:
            chosen = (record.numbers[centers] == z) & (record.numbers[others] == s)
            rows = np.searchsorted(atoms, centers[chosen])
            first = np.searchsorted(rows, np.arange(len(atoms)))
            part = np.full((len(atoms), widths[z, s]), far)
            part[rows, np.arange(len(rows)) - first[rows]] = lengths[chosen]
            parts.append(part)
        blocks.append(np.concatenate(parts, axis=1))
        order.append(atoms)
    return Environments(tuple(blocks), tuple(order), len(lengths) / len(record.numbers), _pool(tuple(blocks)))


def _pool(blocks: tuple[Array, ...]) -> Array:
    """Each column group's values are matched within a species at best as the sorted values of all its columns are."""
    return np.concatenate([np.sort(block, axis=None) for block in blocks])


def _same_size(a: Environments, b: Environments, times_a: int, times_b: int) -> tuple[Environments, Environments]:
    return (a if times_a == 1 else a.repeated(times_a)), (b if times_b == 1 else b.repeated(times_b))


def _neighbours(a: Environments, b: Environments) -> float:
    return max(0.5 * (a.neighbours + b.neighbours), 1.0)


def _squared(left: Array, right: Array) -> Array:
    """Squared Euclidean distances between the rows."""
    return np.maximum((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2.0 * left @ right.T, 0.0)
