"""Energies of isolated atoms (E0): read from isolated-atom frames, regressed where there are none."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from equinet.data.record import Record
from equinet.errors import DataWarning, InputError

ISOLATED, REGRESSED, MIXED = "isolated atoms", "ridge regression", "isolated atoms and ridge regression"

RELATIVE_RIDGE = 1e-5
"""Composition directions with a singular value below this fraction of the largest are left to the prior.

The ridge, its square, decides what the data leave open and nothing else: total energies of thousands of eV
per atom allow no visible shrinkage of what they determine.
"""

AGREEMENT = 1e-3
"""eV. Two isolated-atom frames of one element may differ by this much."""


@dataclass(frozen=True)
class RidgeFit:
    """Per-species energies fitted to whole-structure energies."""

    energies: NDArray[np.float64]  # [S] eV
    prior: NDArray[np.float64]  # [S] eV
    rank: int  # number of directions of composition space the data determine
    left_open: NDArray[np.float64]  # [S, S], projector on the directions the data do not determine

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """[S], species whose energy the prior decides, in part or all."""
        return np.asarray(self.left_open.diagonal() > 1e-6)


def ridge_toward(
    composition: NDArray[np.float64], energies: NDArray[np.float64], prior: NDArray[np.float64]
) -> RidgeFit:
    """Fit energies per species by ridge regression toward a prior, each structure weighted by 1 / atoms.

    Args:
        composition: [F, S], atoms of each species in each frame; at least one atom per frame.
        energies: [F], eV.
        prior: [S], eV; what stands where the data say nothing.
    """
    sizes = composition.sum(axis=1)  # [F]
    fractions = composition / sizes[:, None]  # [F, S]
    rest = energies / sizes - fractions @ prior  # [F]
    left, singular, right = np.linalg.svd(fractions, full_matrices=False)
    ridge = (RELATIVE_RIDGE * singular[0]) ** 2
    solution = prior + right.T @ (singular / (singular**2 + ridge) * (left.T @ rest))
    determined = right[singular > RELATIVE_RIDGE * singular[0]]  # [rank, S]
    left_open = np.eye(len(prior)) - determined.T @ determined
    return RidgeFit(solution, prior, len(determined), left_open)


@dataclass(frozen=True)
class AtomicEnergies:
    """E0 of each species and where it came from."""

    energies: NDArray[np.float64]  # [S] eV
    isolated: NDArray[np.bool_]  # [S], read from an isolated-atom frame
    source: str  # ISOLATED, REGRESSED or MIXED
    rank: int | None = None  # of the regression, None without one
    regressed_species: int = 0  # unknowns of the regression
    undetermined: tuple[int, ...] = ()  # atomic numbers the regression leaves to the prior
    priors: tuple[float, ...] = ()  # [S] eV, the prior of each species in the regression
    prior_source: str = ""


def composition_matrix(records: Sequence[Record], species: Sequence[int]) -> NDArray[np.float64]:
    """How many atoms of each species each record has, [F, S]."""
    rows = [[(record.numbers == z).sum() for z in species] for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(records), len(species))


def atomic_energies(
    isolated: Sequence[Record],
    composition: NDArray[np.float64],
    labels: NDArray[np.float64],
    species: Sequence[int],
    priors: Mapping[int, float] | None = None,
) -> AtomicEnergies:
    """Determine E0 of each species.

    Isolated-atom frames give E0. Species without one are regressed from the other frames' energies, the known
    E0 subtracted, toward ``priors`` or else toward the mean energy per atom.

    Args:
        isolated: isolated-atom frames; species not asked for are ignored.
        composition: [F, S], atoms of each species in the other frames that have an energy.
        labels: [F], their energies in eV.
        species: atomic numbers wanted.
        priors: eV, by atomic number.

    Raises:
        InputError: two isolated-atom frames of one element disagree; neither isolated atoms nor energies.
    """
    found = read_isolated(isolated)
    known = np.array([z in found for z in species])
    energies = np.array([found.get(z, np.nan) for z in species])
    if known.all():
        return AtomicEnergies(energies, known, ISOLATED)
    wanted = [z for z in species if z not in found]
    rest = labels - composition[:, known] @ energies[known]
    useful = composition[:, ~known].sum(axis=1) > 0
    composition, rest = composition[useful][:, ~known], rest[useful]
    if not set(wanted) <= {z for z, column in zip(wanted, composition.T, strict=True) if column.any()}:
        missing = [z for z, column in zip(wanted, composition.T, strict=True) if not column.any()]
        raise InputError(
            f"the E0s of {_names(missing)} cannot be determined: no isolated-atom frame, and no frame "
            "that contains them has an energy; add isolated-atom frames or energies"
        )
    mean = float((rest / composition.sum(axis=1)).mean())
    prior = np.array([(priors or {}).get(z, mean) for z in wanted])
    fit = ridge_toward(composition, rest, prior)
    energies[~known] = fit.energies
    if known.any():
        warnings.warn(
            f"isolated-atom frames for {_names(sorted(found))} only: the E0s of {_names(wanted)} are "
            f"regressed from {len(rest)} frames and take up the binding energy of all; "
            "add frames of their isolated atoms",
            DataWarning,
        )
    by_species = dict(zip(wanted, fit.prior.tolist(), strict=True))
    return AtomicEnergies(
        energies,
        known,
        MIXED if known.any() else REGRESSED,
        rank=fit.rank,
        regressed_species=len(wanted),
        undetermined=tuple(z for z, open_ in zip(wanted, fit.undetermined, strict=True) if open_),
        priors=tuple(by_species.get(z, float("nan")) for z in species),
        prior_source="given" if priors else "mean energy per atom of the data",
    )


def read_isolated(isolated: Sequence[Record]) -> dict[int, float]:
    """E0 by atomic number, eV, from frames of isolated atoms; those without an energy are ignored.

    Raises:
        InputError: two frames of one element disagree.
    """
    groups: dict[int, list[Record]] = {}
    for record in isolated:
        if record.energy is not None:
            groups.setdefault(int(record.numbers[0]), []).append(record)
    means = {}
    for z, group in groups.items():
        energies = np.array([record.energy for record in group], dtype=np.float64)
        low, high = int(energies.argmin()), int(energies.argmax())
        if energies[high] - energies[low] > AGREEMENT:
            raise InputError(
                f"two isolated-atom frames of {chemical_symbols[z]} disagree: {energies[low]} eV in "
                f"{group[low].source}, {energies[high]} eV in {group[high].source}; keep the ground state"
            )
        means[z] = float(energies.mean())
    return means


def _names(numbers: Sequence[int]) -> str:
    return " ".join(chemical_symbols[z] for z in numbers)
