"""A data set in numbers and pictures: elements, sizes, neighbours, and the distributions of its labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.data.atomic_energies import ridge_toward
from equinet.data.chunks import map_chunks
from equinet.data.columns import Subset, columns_of, species_of
from equinet.data.neighbor_counts import neighbors_of
from equinet.data.record import Record
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.files import replacing
from equinet.units import EV_PER_A3_IN_GPA

MAXIMUM_FRAMES = 100_000
"""Of larger sets so many frames are drawn at random, always the same, for all but the counts."""

FORCE_BINS = np.logspace(-4, 3, 141)  # eV/Angstrom
QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


@dataclass
class _Part:
    """What is gathered of a chunk of frames."""

    structures_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    atoms_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    neighbors: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2000, np.int64))  # atoms with 0, 1, ...
    forces: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(FORCE_BINS) - 1, np.int64))
    force_squares: float = 0.0
    largest_force: float = 0.0
    atoms_with_forces: int = 0
    numbers: list[NDArray[np.uint8]] = field(default_factory=list)  # of the frames with an energy
    energies: list[float] = field(default_factory=list)
    pressures: list[float] = field(default_factory=list)  # GPa


@dataclass(frozen=True)
class Description:
    """What :func:`describe` found: plain values for JSON and text, arrays for the figure."""

    facts: dict[str, Any]
    sizes: NDArray[np.int64]  # [F]
    neighbors: NDArray[np.int64]  # atoms with 0, 1, ... neighbours
    energies: NDArray[np.float64]  # eV/atom from a fit of one energy for each element
    forces: NDArray[np.int64]  # atoms in each of FORCE_BINS
    pressures: NDArray[np.float64]  # GPa

    def lines(self) -> list[str]:
        """Lines to print."""
        f = self.facts
        lines = [
            f"{f['structures']} structures, {f['atoms']} atoms; energy {f['with_energy']}, forces {f['with_forces']}, "
            f"stress {f['with_stress']}, isolated atoms {f['isolated_atoms']}",
        ]
        if f["sampled"]:
            lines.append(f"what follows is of {f['sampled']} structures drawn at random")
        elements = f["elements"].items()
        lines.append("structures with: " + ", ".join(f"{symbol} {count['structures']}" for symbol, count in elements))
        for name, unit in UNITS.items():
            if f[name]:
                values = ", ".join(f"{key} {value:.4g}" for key, value in f[name].items())
                lines.append(f"{name.replace('_', ' ')}, {unit}: {values}")
        return lines


UNITS = {
    "atoms_of_a_structure": "number",
    "neighbors_of_an_atom": "number",
    "energy_from_composition_fit": "eV/atom",
    "force": "eV/A",
    "pressure": "GPa",
}


def describe(
    records: Sequence[Record],
    cutoff: float,
    workers: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Description:
    """Describe a data set; at most MAXIMUM_FRAMES frames are read, one at a time.

    Args:
        records: any sequence.
        cutoff: of the neighbour counts, Angstrom.
        workers: as for :func:`equinet.data.chunks.map_chunks`.
        done: told the number of frames read so far.

    Raises:
        InputError: no structures; a structure no graph can be built of.
    """
    if not len(records):
        raise InputError("there are no structures to describe")
    columns = columns_of(records)
    chosen = np.arange(len(records))
    if len(records) > MAXIMUM_FRAMES:
        chosen = np.sort(np.random.default_rng(0).choice(len(records), MAXIMUM_FRAMES, replace=False))
    total = _Part()
    for part in map_chunks(Subset(records, chosen), partial(_gather, cutoff=cutoff), workers, done):
        _add(total, part)
    energies = _from_fit(total)
    pressures = np.array(total.pressures)
    order = np.argsort(-total.structures_with, kind="stable")
    facts = {
        "structures": len(records),
        "atoms": int(columns.atoms.sum()),
        "with_energy": int(columns.has_energy.sum()),
        "with_forces": int(columns.has_forces.sum()),
        "with_stress": int(columns.has_stress.sum()),
        "isolated_atoms": int(columns.is_isolated_atom.sum()),
        "sampled": len(chosen) if len(chosen) < len(records) else None,
        "cutoff_angstrom": cutoff,
        "species": [SYMBOLS[z] for z in species_of(records)],
        "elements": {
            SYMBOLS[z]: {"structures": int(total.structures_with[z]), "atoms": int(total.atoms_of[z])}
            for z in order[: np.count_nonzero(total.structures_with)]
        },
        "atoms_of_a_structure": _quantiles(columns.atoms),
        "neighbors_of_an_atom": _quantiles_of_counts(total.neighbors),
        "energy_from_composition_fit": _quantiles(energies),
        "force": _force_facts(total),
        "pressure": _quantiles(pressures),
    }
    return Description(facts, columns.atoms, np.trim_zeros(total.neighbors, "b"), energies, total.forces, pressures)


def _gather(records: Sequence[Record], start: int, stop: int, cutoff: float) -> _Part:
    part = _Part()
    for index in range(start, stop):
        record = records[index]
        counts = np.bincount(record.numbers, minlength=256)
        part.atoms_of += counts
        part.structures_with += counts > 0
        neighbors = neighbors_of(record, cutoff).counts
        np.add.at(part.neighbors, np.minimum(neighbors, len(part.neighbors) - 1), 1)
        if record.forces is not None:
            sizes = np.linalg.norm(record.forces, axis=1)
            part.forces += np.histogram(np.clip(sizes, FORCE_BINS[0], FORCE_BINS[-1]), FORCE_BINS)[0]
            part.force_squares += float(np.sum(sizes**2))
            part.largest_force = max(part.largest_force, float(sizes.max()))
            part.atoms_with_forces += len(sizes)
        if record.energy is not None and not record.is_isolated_atom:
            part.energies.append(record.energy)
            part.numbers.append(record.numbers.astype(np.uint8))
        if record.stress is not None:
            part.pressures.append(-float(np.trace(record.stress)) / 3 * EV_PER_A3_IN_GPA)
    return part


def _add(total: _Part, part: _Part) -> None:
    for name in ("structures_with", "atoms_of", "neighbors", "forces", "force_squares", "atoms_with_forces"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    total.largest_force = max(total.largest_force, part.largest_force)
    total.numbers += part.numbers
    total.energies += part.energies
    total.pressures += part.pressures


def _from_fit(total: _Part) -> NDArray[np.float64]:
    """Energies per atom less what one energy for each element explains; what is left is structure."""
    if not total.energies:
        return np.zeros(0)
    species = np.flatnonzero(total.structures_with)
    composition = np.array([np.bincount(numbers, minlength=256)[species] for numbers in total.numbers], dtype=float)
    energies, sizes = np.array(total.energies), composition.sum(axis=1)
    prior = np.full(len(species), (energies / sizes).mean())
    return np.asarray((energies - composition @ ridge_toward(composition, energies, prior).energies) / sizes)


def _force_facts(total: _Part) -> dict[str, float]:
    if not total.atoms_with_forces:
        return {}
    centers = np.sqrt(FORCE_BINS[1:] * FORCE_BINS[:-1])
    cumulative = np.cumsum(total.forces) / total.forces.sum()
    return {
        "rms of components": float(np.sqrt(total.force_squares / (3 * total.atoms_with_forces))),
        **{name: float(centers[np.searchsorted(cumulative, q)]) for name, q in QUANTILES.items() if 0 < q < 1},
        "largest": total.largest_force,
    }


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()} if len(values) else {}


def _quantiles_of_counts(counts: NDArray[np.int64]) -> dict[str, float]:
    cumulative = np.cumsum(counts) / counts.sum()
    found = {name: float(np.searchsorted(cumulative, max(q, 1e-300))) for name, q in QUANTILES.items()}
    return {"mean": float(np.arange(len(counts)) @ counts / counts.sum()), **found}


def draw_description(description: Description, title: str, path: Path) -> None:
    """Draw six panels: elements, sizes, neighbours, energies, forces, pressures.

    Args:
        description: of :func:`describe`.
        title: of the figure.
        path: a .png file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    figure.suptitle(title, fontsize=11)
    (elements, sizes, neighbors), (energies, forces, pressures) = figure.subplots(2, 3)
    shown = list(description.facts["elements"].items())[:30]
    elements.bar([symbol for symbol, _ in shown], [count["structures"] for _, count in shown], color=COLOR)
    elements.set(ylabel="structures", title=f"elements ({len(description.facts['elements'])})")
    elements.tick_params(axis="x", labelsize=8 if len(shown) > 15 else 10)
    _histogram(sizes, description.sizes, "atoms of a structure", "structures")
    counts = description.neighbors
    neighbors.bar(np.arange(len(counts)), counts, width=1.0, color=COLOR)
    occupied = np.flatnonzero(counts)
    neighbors.set(xlim=(occupied[0] - 1, occupied[-1] + 1) if len(occupied) else None)
    neighbors.set(xlabel=f"neighbours within {description.facts['cutoff_angstrom']:g} A", ylabel="atoms")
    _histogram(energies, description.energies, "energy less a fit of the composition, eV/atom", "structures")
    if description.forces.any():
        forces.stairs(description.forces, FORCE_BINS, fill=True, color=COLOR)
        used = np.flatnonzero(description.forces)
        forces.set(xscale="log", yscale="log", xlabel="|force|, eV/A", ylabel="atoms")
        forces.set(xlim=(FORCE_BINS[used[0]], FORCE_BINS[used[-1] + 1]))
    else:
        _nothing(forces, "no forces")
    _histogram(pressures, description.pressures, "pressure, GPa (positive under compression)", "structures")
    for axes in (elements, sizes, neighbors, energies, forces, pressures):
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")


COLOR = "#1f5fa8"


def _histogram(axes: Any, values: NDArray[Any], label: str, counted: str) -> None:
    if not len(values):
        _nothing(axes, f"no {label.split(',')[0].split(' less')[0]}")
        return
    axes.hist(values, bins=_bins(values), color=COLOR)
    axes.set(xlabel=label, ylabel=counted, yscale="log")


def _bins(values: NDArray[Any]) -> Any:
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.integer) and high - low < 60:
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, 60) if high > low else np.array([low - 0.5, low + 0.5])


def _nothing(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="gray")
    axes.set(xticks=[], yticks=[])
