"""Numbers a model needs to know of its training data, computed once and kept with the model."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from equinet.data.atomic_energies import ISOLATED, atomic_energies, composition_matrix, ridge_toward
from equinet.data.examples import make_example
from equinet.data.record import Record, separate_isolated_atoms
from equinet.errors import DataWarning, InputError
from equinet.graph import nearest_pair


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
    modal: str = ""  # of theory, where there are several
    of_modals: tuple["Statistics", ...] = ()  # of each level of theory; E0s and shifts stand there alone
    frames_per_species: tuple[int, ...] = ()  # frames to train on that have the species
    shortest_distance: float | None = None  # between two atoms of a frame to train on, Angstrom

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
    is zero.

    Args:
        records: training records, isolated-atom frames among them.
        cutoff: Angstrom.
        priors: energy per atom in eV by chemical symbol, where E0s must be regressed; the mean energy per
            atom of the data for elements not given.

    Raises:
        InputError: nothing to train on; E0s that cannot be determined; a structure no graph can be built of;
            no edge in any frame; an unknown element in priors.
    """
    isolated, training = separate_isolated_atoms(records)
    if not training:
        raise InputError(f"nothing to train on: {len(isolated)} frames of isolated atoms and no others; add structures")
    species = sorted({int(z) for record in training for z in np.unique(record.numbers)})
    e0 = atomic_energies(isolated, training, species, _by_number(priors))
    labelled = [record for record in training if record.energy is not None]
    energies = np.array([record.energy for record in labelled], dtype=np.float64)
    shift = np.zeros(len(species))
    energy_rms = None
    if labelled:
        composition = composition_matrix(labelled, species)
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
        **_without_energies(isolated, training, cutoff),
    )
    if statistics.frames_without_edges:
        warnings.warn(
            f"{statistics.frames_without_edges} of {len(training)} frames have no edge at a cutoff of {cutoff} A: "
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
    isolated, training = separate_isolated_atoms(records)
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
        **_without_energies(isolated, training, cutoff),
    )


def _without_energies(isolated: Sequence[Record], training: Sequence[Record], cutoff: float) -> dict[str, Any]:
    """The fields that no energy has a part in."""
    forces = [record.forces for record in training if record.forces is not None]
    stresses = [record.stress for record in training if record.stress is not None]
    virials = [record.virial / len(record.numbers) for record in training if record.virial is not None]
    graphs = (make_example(record, cutoff).graph for record in training)
    counted = [(np.bincount(g.receivers.numpy(), minlength=len(g.numbers)), nearest_pair(g)) for g in graphs]
    neighbors = [counts for counts, _ in counted]
    species = Counter(z for record in training for z in np.unique(record.numbers).tolist())
    every = np.concatenate(neighbors)
    lonely = sum(not counts.any() for counts in neighbors)
    if lonely == len(training):
        raise InputError(f"no edge in any of {lonely} frames at a cutoff of {cutoff} A; take a larger cutoff")
    labelled = [record for record in training if record.energy is not None]
    return {
        "force_rms": _rms(np.concatenate(forces)) if forces else None,
        "stress_rms": _rms(np.array(stresses)) if stresses else None,
        "virial_rms_per_atom": _rms(np.array(virials)) if virials else None,
        "cutoff": float(cutoff),
        "mean_neighbors": float(every.mean()),
        "min_neighbors": int(every.min()),
        "frames": len(training),
        "atoms": len(every),
        "frames_with_energy": len(labelled),
        "frames_with_forces": len(forces),
        "frames_with_stress": len(stresses),
        "frames_with_virial": len(virials),
        "frames_without_edges": lonely,
        "isolated_frames": len(isolated),
        "energy_key": ", ".join(sorted({r.energy_key for r in labelled if r.energy_key})) or None,
        "frames_per_species": tuple(species[z] for z in sorted(species)),
        "shortest_distance": min(pair.distance for _, pair in counted if pair is not None),
    }


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _by_number(priors: Mapping[str, float] | None) -> dict[int, float]:
    unknown = [symbol for symbol in priors or {} if symbol not in atomic_numbers]
    if unknown:
        raise InputError(f"priors name {unknown[0]!r}, which is no chemical symbol; write 'Si' for silicon")
    return {atomic_numbers[symbol]: float(value) for symbol, value in (priors or {}).items()}
