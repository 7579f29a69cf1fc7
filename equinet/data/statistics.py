"""Numbers a model needs to know of its training data, computed once and kept with the model."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from equinet.data.atomic_energies import ISOLATED, atomic_energies, ridge_toward
from equinet.data.columns import Columns, Subset, columns_of, species_of
from equinet.data.neighbor_counts import neighbors_of
from equinet.data.record import Record
from equinet.errors import DataWarning, InputError

MAXIMUM_FRAMES = 100_000
"""Statistics of larger sets are those of so many frames drawn at random, always the same ones."""

FRAMES_OF_EACH_ELEMENT = 100
"""A sample has so many frames of every element, where there are."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of a training set. Energies in eV, lengths in Angstrom, lists in the order of ``species``.

    The rms values divide the losses and scale the model's output; each is None without a label of its kind.
    Those of stress and virial are over the nine components (shear counted twice), so that they do not depend
    on the axes.
    """

    species: tuple[int, ...]  # atomic numbers, ascending, of the frames to train on
    isolated_energies: tuple[float, ...]  # E0
    isolated_energies_source: str  # "isolated atoms", "ridge regression", or both joined by "and"
    from_isolated: tuple[bool, ...]  # which E0s were read, not regressed
    rank: int | None  # of the composition matrix in the regression; None without one
    regressed_species: int  # unknowns of that regression
    undetermined: tuple[int, ...]  # atomic numbers whose E0 the prior decides, in part or all
    prior_source: str  # "mean energy per atom of the data", "given" or ""
    priors: tuple[float | None, ...]  # per species, None where not needed; () without a regression
    shift: tuple[float, ...]  # mean binding energy per atom of each species; zeros where E0s were regressed
    energy_rms_per_atom: float | None  # rms over frames of (E - sum E0 - sum shift) / atoms
    force_rms: float | None  # eV/Angstrom, per Cartesian component
    stress_rms: float | None  # eV/Angstrom^3: sqrt(mean over frames of |stress|_F^2 / 9)
    virial_rms_per_atom: float | None  # eV/atom: sqrt(mean over frames of |virial / atoms|_F^2 / 9)
    cutoff: float  # Angstrom, of the neighbour counts
    mean_neighbors: float  # edges per atom
    min_neighbors: int  # edges of the loneliest atom
    frames: int  # to train on
    atoms: int
    frames_with_energy: int
    frames_with_forces: int
    frames_with_stress: int  # virials of three-dimensional frames
    frames_with_virial: int
    frames_without_edges: int
    isolated_frames: int  # isolated-atom frames: they give E0 and are not trained on
    energy_key: str | None  # key(s) the energies were read from
    sampled_frames: int | None = None  # drawn at random, for all but the counts; None: all frames
    modal: str = ""  # of theory, where there are several
    of_modals: tuple["Statistics", ...] = ()  # of each level of theory; E0s and shifts stand there alone
    frames_per_species: tuple[int, ...] = ()  # frames (of the sample) that have the species
    shortest_distance: float | None = None  # between two atoms of a frame (of the sample), Angstrom

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return plain | {"of_modals": [level.to_dict() for level in self.of_modals]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Statistics":
        """Return what :meth:`to_dict` wrote.

        Raises:
            TypeError: when fields are missing or unknown.
        """
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        fields["of_modals"] = tuple(map(cls.from_dict, fields.get("of_modals", ())))
        return cls(**fields)


def compute_statistics(
    records: Sequence[Record], cutoff: float, priors: Mapping[str, float] | None = None
) -> Statistics:
    """Compute the statistics of a training set: of the training split only, never of validation or test data.

    E0s come from isolated-atom frames, else from ridge regression toward the priors (see
    :mod:`equinet.data.atomic_energies`). With all E0s read, ``shift`` holds what binding leaves per atom of
    each species, by ridge regression toward the common mean; regressed E0s contain the binding, and ``shift``
    is zero. Of more than 100,000 frames so many are drawn at random (always the same), and enough of each element;
    counts are of all. Frames are read one at a time.

    Args:
        records: training records, isolated-atom frames among them.
        cutoff: Angstrom.
        priors: energy per atom in eV by chemical symbol, where E0s must be regressed; the mean energy per
            atom of the data for elements not given.

    Raises:
        InputError: nothing to train on; E0s that cannot be determined; a structure no graph can be built of;
            no edge in any frame; an unknown element in priors.
    """
    survey = _survey(records, cutoff)
    species = survey.species
    composition, energies = survey.compositions(), np.array(survey.energies)
    e0 = atomic_energies(survey.isolated, composition, energies, species, _by_number(priors))
    shift = np.zeros(len(species))
    energy_rms = None
    if len(energies):
        sizes = composition.sum(axis=1)
        binding = energies - composition @ e0.energies
        if e0.source == ISOLATED:
            prior = np.full(len(species), (binding / sizes).mean())
            shift = ridge_toward(composition, binding, prior).energies
        energy_rms = _rms((binding - composition @ shift) / sizes)
    statistics = Statistics(
        species=tuple(species),
        isolated_energies=tuple(e0.energies.tolist()),
        isolated_energies_source=e0.source,
        from_isolated=tuple(e0.isolated.tolist()),
        rank=e0.rank,
        regressed_species=e0.regressed_species,
        undetermined=e0.undetermined,
        prior_source=e0.prior_source,
        priors=tuple(None if np.isnan(p) else p for p in e0.priors),
        shift=tuple(shift.tolist()),
        energy_rms_per_atom=energy_rms,
        **survey.without_energies(),
    )
    if statistics.frames_without_edges:
        warnings.warn(
            f"{statistics.frames_without_edges} of {survey.frames} frames have no edge at a cutoff of {cutoff} A: "
            "nothing can be learnt from them; isolated atoms in a periodic box need config_type=IsolatedAtom to give "
            "E0",
            DataWarning,
        )
    return statistics


def pooled_statistics(records: Sequence[Record], cutoff: float, levels: Sequence[Statistics]) -> Statistics:
    """Statistics of a training set whose energies are of several levels of theory.

    Args:
        records: of all levels, isolated-atom frames among them.
        cutoff: Angstrom.
        levels: statistics of each level's records.
    """
    rms = [(level.energy_rms_per_atom, level.frames_with_energy) for level in levels if level.energy_rms_per_atom]
    return Statistics(
        species=tuple(sorted(set().union(*(level.species for level in levels)))),
        isolated_energies=(),
        isolated_energies_source="; ".join(f"{level.modal}: {level.isolated_energies_source}" for level in levels),
        from_isolated=(),
        rank=None,
        regressed_species=0,
        undetermined=(),
        prior_source="",
        priors=(),
        shift=(),
        energy_rms_per_atom=float(np.sqrt(np.average([r * r for r, _ in rms], weights=[n for _, n in rms])))
        if rms
        else None,
        of_modals=tuple(levels),
        **_survey(records, cutoff).without_energies(),
    )


@dataclass
class _Survey:
    """What one pass over the frames to train on gathers; a few numbers a frame, at most MAXIMUM_FRAMES of them."""

    cutoff: float
    columns: Columns  # of the frames to train on, all of them
    isolated: list[Record]
    species: list[int]
    sampled: int | None
    energies: list[float] = field(default_factory=list)  # of the labelled
    formulas: list[NDArray[np.uint8]] = field(default_factory=list)  # their atomic numbers
    energy_keys: set[str] = field(default_factory=set)
    forces: "_MeanSquare" = field(default_factory=lambda: _MeanSquare())
    stresses: "_MeanSquare" = field(default_factory=lambda: _MeanSquare())
    virials: "_MeanSquare" = field(default_factory=lambda: _MeanSquare())
    frames: int = 0
    atoms: int = 0
    edges: int = 0
    fewest_edges: int = 2**62
    lonely: int = 0
    shortest: float = float("inf")
    frames_with: "Counter[int]" = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        if record.energy is not None:
            self.energies.append(record.energy)
            self.formulas.append(record.numbers.astype(np.uint8))
            self.energy_keys |= {record.energy_key} if record.energy_key else set()
        self.forces.add(record.forces)
        self.stresses.add(record.stress)
        self.virials.add(None if record.virial is None else record.virial / len(record.numbers))
        neighbors, shortest = neighbors_of(record, self.cutoff)
        self.frames += 1
        self.atoms += len(neighbors)
        self.edges += int(neighbors.sum())
        self.fewest_edges = min(self.fewest_edges, int(neighbors.min()))
        self.lonely += not neighbors.any()
        self.shortest = min(self.shortest, shortest)
        self.frames_with.update(np.unique(record.numbers).tolist())

    def compositions(self) -> NDArray[np.float64]:
        """Atoms of each species in each labelled frame, [F, S]."""
        counts = [np.bincount(numbers, minlength=256)[self.species] for numbers in self.formulas]
        return np.array(counts, dtype=np.float64).reshape(len(counts), len(self.species))

    def without_energies(self) -> dict[str, Any]:
        """The fields that no energy has a part in."""
        if self.lonely == self.frames:
            raise InputError(
                f"no edge in any of {self.lonely} frames at a cutoff of {self.cutoff} A; take a larger cutoff"
            )
        columns = self.columns
        return {
            "force_rms": self.forces.root(),
            "stress_rms": self.stresses.root(),
            "virial_rms_per_atom": self.virials.root(),
            "cutoff": float(self.cutoff),
            "mean_neighbors": self.edges / self.atoms,
            "min_neighbors": self.fewest_edges,
            "frames": len(columns.atoms),
            "atoms": int(columns.atoms.sum()),
            "frames_with_energy": int(columns.has_energy.sum()),
            "frames_with_forces": int(columns.has_forces.sum()),
            "frames_with_stress": int(columns.has_stress.sum()),
            "frames_with_virial": int(columns.has_virial.sum()),
            "frames_without_edges": self.lonely,
            "isolated_frames": len(self.isolated),
            "energy_key": ", ".join(sorted(self.energy_keys)) or None,
            "sampled_frames": self.sampled,
            "frames_per_species": tuple(self.frames_with[number] for number in self.species),
            "shortest_distance": self.shortest,
        }


@dataclass
class _MeanSquare:
    total: float = 0.0
    count: int = 0

    def add(self, values: NDArray[np.float64] | None) -> None:
        if values is not None:
            self.total += float(np.sum(values**2))
            self.count += values.size

    def root(self) -> float | None:
        return float(np.sqrt(self.total / self.count)) if self.count else None


def _survey(records: Sequence[Record], cutoff: float) -> _Survey:
    """Read the frames to train on, or a sample of them, once.

    Raises:
        InputError: nothing to train on; a structure no graph can be built of.
    """
    columns = columns_of(records)
    training = np.flatnonzero(~columns.is_isolated_atom)
    isolated = [records[int(i)] for i in np.flatnonzero(columns.is_isolated_atom)]
    if not len(training):
        raise InputError(f"nothing to train on: {len(isolated)} frames of isolated atoms and no others; add structures")
    species = species_of(Subset(records, training) if isolated else records)
    chosen = _sample(records, training, species)
    sampled = len(chosen) if len(chosen) < len(training) else None
    survey = _Survey(cutoff, columns[training], isolated, species, sampled)
    for index in chosen:
        survey.add(records[int(index)])
    return survey


def _sample(records: Sequence[Record], training: NDArray[np.int64], species: Sequence[int]) -> NDArray[np.int64]:
    """At most MAXIMUM_FRAMES frames to train on, and a few more for elements that these have too seldom; ascending."""
    if len(training) <= MAXIMUM_FRAMES:
        return training
    generator = np.random.default_rng(0)
    chosen = generator.choice(training, MAXIMUM_FRAMES, replace=False)
    whole = Subset(records, training)
    for number in species:
        having = training[whole.structures_with(number)]
        missing = FRAMES_OF_EACH_ELEMENT - int(np.isin(having, chosen).sum())
        if missing > 0:
            others = np.setdiff1d(having, chosen)
            chosen = np.concatenate([chosen, generator.permutation(others)[:missing]])
    return np.sort(chosen)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _by_number(priors: Mapping[str, float] | None) -> dict[int, float]:
    unknown = [symbol for symbol in priors or {} if symbol not in atomic_numbers]
    if unknown:
        raise InputError(f"priors name {unknown[0]!r}, which is no chemical symbol; write 'Si' for silicon")
    return {atomic_numbers[symbol]: float(value) for symbol, value in (priors or {}).items()}
