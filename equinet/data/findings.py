"""What looks wrong in a data set: duplicates, forces and energies out of line, atoms too close, labels that lack.

Structures are read once, one at a time, in several processes; what is kept of each is a row of a few numbers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from equinet.data.chunks import map_chunks
from equinet.data.columns import FORMULA, columns_of
from equinet.data.record import Record
from equinet.errors import InputError
from equinet.graph import pair_distances

SAME = 1e-4
"""Angstrom. Structures whose atoms and cell vectors differ by no more than this are duplicates."""

MAXIMUM_FORCE = 30.0
"""eV/Angstrom. Larger forces are listed."""

NET_FORCE = 0.01
"""eV/Angstrom per atom. Forces of a converged calculation add up to less; restrained atoms and bad grids give more."""

TOO_CLOSE = 0.5
"""Distances below this fraction of the sum of covalent radii are listed."""

ENERGY_DEVIATIONS, ENERGY_MINIMUM, ENERGY_FRAMES = 10.0, 0.05, 10
"""An energy is out of line when so many (robust) standard deviations, and so many eV/atom, from the median of its
composition, of which there are at least so many structures."""

LABEL_CONFLICT = 1e-3
"""eV/atom. Duplicates whose energies differ by more contradict each other."""

_ROW = np.dtype(
    [
        ("elements", "u8"),  # the atoms' elements in order, hashed
        ("formula", "u8"),
        ("projection", "f8", 3),  # positions and cell along three fixed directions, Angstrom
        ("atoms", "i8"),
        ("solid", "i8"),  # 1 where periodic in three directions
        ("energy", "f8"),  # eV per atom, NaN where absent
        ("largest_force", "f8"),  # eV/Angstrom, NaN where absent
        ("net_force", "f8"),  # eV/Angstrom per atom, NaN where absent
        ("closest", "f8"),  # Angstrom, of the pair that is nearest for its size; inf where none is near
        ("closeness", "f8"),  # the same in units of the sum of covalent radii
    ]
)


@dataclass(frozen=True)
class Finding:
    """One kind of oddity: which structures, the worst first, and how bad."""

    name: str
    indices: list[int]
    values: list[float]
    unit: str

    def line(self, source: Callable[[int], str]) -> str:
        """One line of text: how many, and the first three."""
        if not self.indices:
            return f"{self.name}: none"
        worst = [f"{source(i)} ({v:.4g} {self.unit})" for i, v in zip(self.indices[:3], self.values, strict=False)]
        return f"{self.name}: {len(self.indices)}; {', '.join(worst)}{', ...' if len(self.indices) > 3 else ''}"


@dataclass(frozen=True)
class Findings:
    """What :func:`examine` found."""

    structures: int
    missing: dict[str, int]  # structures without a label, by label
    duplicates: list[list[int]]  # groups of structures, the first of each first
    kinds: tuple[Finding, ...]

    def lines(self, source: Callable[[int], str]) -> list[str]:
        """Lines to print; ``source`` names a structure."""
        without = [f"{label} {count}" for label, count in self.missing.items() if count]
        extra = sum(len(group) - 1 for group in self.duplicates)
        example = ""
        if self.duplicates:
            example = f" in {len(self.duplicates)} groups, such as " + " = ".join(map(source, self.duplicates[0][:3]))
        return [
            f"missing labels: {', '.join(without) or 'none'}",
            f"duplicates (same atoms, positions and cell to {SAME:g} A): {extra or 'none'}{example}",
            *(kind.line(source) for kind in self.kinds),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values with all indices, for JSON."""
        return {
            "structures": self.structures,
            "missing": self.missing,
            "duplicates": self.duplicates,
            **{kind.name: {"indices": kind.indices, "values": kind.values, "unit": kind.unit} for kind in self.kinds},
        }


def examine(
    records: Sequence[Record], workers: int | None = None, done: Callable[[int], None] = lambda count: None
) -> Findings:
    """Look through a data set.

    Args:
        records: any sequence; 96 bytes for each are in memory.
        workers: as for :func:`equinet.data.chunks.map_chunks`.
        done: told the number of structures read so far.
    """
    rows = np.concatenate([np.zeros(0, _ROW), *map_chunks(records, _examine, workers, done)])
    columns = columns_of(records)
    duplicates = _duplicates(rows, records)
    conflicts = [(group[0], float(np.ptp(rows["energy"][group]))) for group in duplicates]
    conflicts = sorted((c for c in conflicts if c[1] > LABEL_CONFLICT), key=lambda c: -c[1])
    kinds = (
        Finding("duplicates whose energies differ", [i for i, _ in conflicts], [v for _, v in conflicts], "eV/atom"),
        _above("large forces", rows["largest_force"], MAXIMUM_FORCE, "eV/A"),
        _above("net forces", rows["net_force"], NET_FORCE, "eV/A per atom"),
        _energy_outliers(rows),
        _too_close(rows),
    )
    missing = {
        "energy": int((~columns.has_energy).sum()),
        "forces": int((~columns.has_forces).sum()),
        "stress": int((rows["solid"].astype(bool) & ~columns.has_stress).sum()),  # elsewhere there is none
    }
    return Findings(len(rows), missing, duplicates, kinds)


def _examine(records: Sequence[Record], start: int, stop: int) -> NDArray[Any]:
    rows = np.zeros(stop - start, _ROW)
    for row, index in zip(rows, range(start, stop), strict=True):
        record = records[index]
        atoms = len(record.numbers)
        digest = hashlib.blake2b(record.numbers.tobytes() + record.pbc.tobytes(), digest_size=8).digest()
        row["elements"] = np.frombuffer(digest, np.uint64)[0]
        row["formula"] = FORMULA[record.numbers].sum()
        row["projection"] = _directions(atoms) @ np.concatenate([record.positions.ravel(), record.cell.ravel()])
        row["atoms"], row["solid"] = atoms, record.pbc.all()
        row["energy"] = np.nan if record.energy is None else record.energy / atoms
        row["largest_force"] = row["net_force"] = np.nan
        if record.forces is not None:
            row["largest_force"] = np.linalg.norm(record.forces, axis=1).max()
            row["net_force"] = np.linalg.norm(record.forces.sum(axis=0)) / atoms
        row["closest"], row["closeness"] = closest_pair(record, 1.2 * TOO_CLOSE)
    return rows


@lru_cache(maxsize=1000)
def _directions(atoms: int) -> NDArray[np.float64]:
    """Three fixed unit vectors in the space of a structure's coordinates, [3, 3 N + 9].

    Structures that differ by d in each coordinate differ by at most d sqrt(3 N + 9) along each.
    """
    vectors = np.random.default_rng(atoms).normal(size=(3, 3 * atoms + 9))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def closest_pair(record: Record, reach: float) -> tuple[float, float]:
    """The pair of atoms that is nearest for its size: its distance, Angstrom, and the same in sums of covalent radii.

    (0, 0) where the cell cannot be; infinite where no pair is within the reach.

    Args:
        record: the structure.
        reach: of the search, in sums of covalent radii.
    """
    radii = covalent_radii[record.numbers]
    try:
        first, second, distances = pair_distances(
            record.positions, record.cell, record.pbc, reach * 2 * float(radii.max())
        )
    except InputError:
        return 0.0, 0.0
    if not len(distances):
        return np.inf, np.inf
    closeness = distances / (radii[first] + radii[second])
    nearest = int(closeness.argmin())
    return float(distances[nearest]), float(closeness[nearest])


def _duplicates(rows: NDArray[Any], records: Sequence[Record]) -> list[list[int]]:
    """Groups of equal structures: near along the three directions, then compared atom by atom."""
    order = np.lexsort((rows["projection"][:, 0], rows["elements"]))
    sorted_rows = rows[order]
    reach = SAME * np.sqrt(3 * sorted_rows["atoms"] + 9)
    first_of: dict[int, int] = {}
    step = 1
    candidates = np.arange(len(rows))
    while step < len(rows) and step <= 64 and len(candidates):
        candidates = candidates[candidates + step < len(rows)]
        a, b = sorted_rows[candidates], sorted_rows[candidates + step]
        apart = np.abs(a["projection"] - b["projection"])
        near = (a["elements"] == b["elements"]) & (apart[:, 0] <= reach[candidates])
        candidates = candidates[near]  # the next further along can only be near where this one is
        for k in candidates[(apart[near] <= reach[candidates, None]).all(axis=1)]:
            pair = sorted((int(order[k]), int(order[k + step])))
            roots = sorted({_root(first_of, i) for i in pair})
            if len(roots) == 2 and _same_structure(records[pair[0]], records[pair[1]]):
                first_of[roots[1]] = roots[0]
        step += 1
    groups: dict[int, list[int]] = {}
    for index in sorted(first_of.keys() | set(first_of.values())):
        groups.setdefault(_root(first_of, index), []).append(index)
    return [groups[root] for root in sorted(groups)]


def _root(first_of: dict[int, int], index: int) -> int:
    while index in first_of:
        index = first_of[index]
    return index


def _same_structure(a: Record, b: Record) -> bool:
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.array_equal(a.pbc, b.pbc)
        and bool(np.abs(a.positions - b.positions).max() <= SAME)
        and bool(np.abs(a.cell - b.cell).max() <= SAME)
    )


def _energy_outliers(rows: NDArray[Any]) -> Finding:
    """Energies far from the median of their composition, measured by the median deviation."""
    deviation = np.zeros(len(rows))
    labelled = np.flatnonzero(np.isfinite(rows["energy"]))
    _, formula = np.unique(rows["formula"][labelled], return_inverse=True)
    order = np.argsort(formula, kind="stable")
    for members in np.split(labelled[order], np.cumsum(np.bincount(formula))[:-1]):
        if len(members) >= ENERGY_FRAMES:
            energies = rows["energy"][members]
            away = np.abs(energies - np.median(energies))
            spread = 1.4826 * np.median(away)  # of a normal distribution: its standard deviation
            deviation[members] = np.where(away > max(ENERGY_DEVIATIONS * spread, ENERGY_MINIMUM), away, 0.0)
    return _above("energies far from others of their composition", deviation, 0.0, "eV/atom from the median")


def _too_close(rows: NDArray[Any]) -> Finding:
    found = np.flatnonzero(rows["closeness"] < TOO_CLOSE)
    found = found[np.argsort(rows["closeness"][found], kind="stable")]
    return Finding("atoms too close", found.tolist(), rows["closest"][found].tolist(), "A")


def _above(name: str, values: NDArray[np.float64], limit: float, unit: str) -> Finding:
    found = np.flatnonzero(values > limit)  # NaN is not
    found = found[np.argsort(-values[found], kind="stable")]
    return Finding(name, found.tolist(), values[found].tolist(), unit)
