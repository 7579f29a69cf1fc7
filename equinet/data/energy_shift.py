"""What a trained potential's reference energies must be shifted by to fit new data: a fit to E_label - E_parent.

Never to raw energies: these hold the binding, which the potential knows already, and a fit would put it into E0 a
second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equinet.data.atomic_energies import RidgeFit, composition_matrix, read_isolated, ridge_toward
from equinet.data.record import Record
from equinet.data.splits import separate_isolated_atoms
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.units import MEV_PER_EV

Deficient = Literal["refuse", "minimal"]
"""What to do where compositions do not tell elements apart. refuse: raise. minimal: the smallest shifts that fit."""


@dataclass(frozen=True)
class EnergyShift:
    """Energies for each atom of an element, to be added to a potential's, and what they do."""

    isolated: dict[int, float]  # by atomic number, added to E0, eV
    bound: dict[int, float]  # by atomic number, added to the shift, eV; where isolated atoms give E0
    frames: int  # fitted to
    rms_before: float  # eV/atom, of E_label - E_parent
    rms_after: float  # eV/atom, of what the shifts leave
    undetermined: tuple[tuple[int, ...], ...] = ()  # elements whose shifts the data give in sum only
    ignored_isolated: int = 0  # isolated-atom frames that say nothing of this parent

    @property
    def total(self) -> dict[int, float]:
        """By atomic number, what an atom among others is shifted by, eV."""
        return {z: shift + self.bound.get(z, 0.0) for z, shift in self.isolated.items()}

    def of(self, numbers: NDArray[np.int64]) -> float:
        """What the energy of a structure is shifted by, eV; elements that the new data lack are not."""
        return float(sum(self.total.get(int(z), 0.0) for z in numbers))

    def describe(self) -> list[str]:
        """Lines for the user: the shifts, the residual before and after, what was left open."""
        shifts = ", ".join(f"{SYMBOLS[z]} {shift:+.4f}" for z, shift in self.total.items())
        before, after = MEV_PER_EV * self.rms_before, MEV_PER_EV * self.rms_after
        lines = [
            f"E0 shifted to fit E_label - E_parent of {self.frames} frames: {shifts} eV; "
            f"its rms: {before:.1f} -> {after:.1f} meV/atom"
        ]
        if self.undetermined:
            lines.append(f"  of {_spoken(self.undetermined)} only the sum is known: the smallest shifts were taken")
        if self.ignored_isolated:
            lines.append(
                f"  {self.ignored_isolated} frames of isolated atoms left out: they say nothing of this parent's E0"
            )
        return lines


def fit_energy_shift(
    records: Sequence[Record],
    parent_energies: Sequence[float],
    parent_isolated: Mapping[int, float] | None = None,
    deficient: Deficient = "refuse",
) -> EnergyShift:
    """Fit a shift for each element to E_label - E_parent, by least squares of the difference per atom.

    Args:
        records: new data of one level of theory; those without an energy are left out.
        parent_energies: what the parent predicts for each record, eV.
        parent_isolated: by atomic number, the parent's energies of isolated atoms where they are E0 by construction, eV
            (``subtract_isolated``). Isolated-atom frames then give the shift of E0, and the rest goes into the shift of
            bound atoms. None: such frames are left out, for an extrapolation says nothing of E0.
        deficient: what to do where the compositions determine only sums of shifts. "minimal" is safe for structures
            of these very proportions only: all others, those of the original data among them, move by an arbitrary
            amount.

    Raises:
        InputError: no energy to fit to; elements that the compositions do not tell apart.
    """
    pairs = [(r, e) for r, e in zip(records, parent_energies, strict=True) if r.energy is not None]
    training = [(record, energy) for record, energy in pairs if not record.is_isolated_atom]
    if not training:
        raise InputError(
            "no frame has an energy to fit E0 to; give energies, or model.finetune.refit_isolated_energies: false"
        )
    alone = read_isolated(separate_isolated_atoms(records)[0]) if parent_isolated is not None else {}
    species = sorted({int(z) for record, _ in training for z in record.numbers})
    isolated = {z: alone[z] - (parent_isolated or {})[z] for z in species if z in alone}

    composition = composition_matrix([record for record, _ in training], species)
    difference = np.array([float(record.energy or 0.0) - energy for record, energy in training])
    fit = ridge_toward(composition, difference, np.array([isolated.get(z, 0.0) for z in species]))
    free = [z for z, open_ in zip(species, fit.undetermined, strict=True) if open_ and z not in isolated]
    groups = _linked(fit, species) if free else ()
    if free and deficient == "refuse":
        raise InputError(
            f"E0 cannot be fitted: the data hold {_spoken(groups)} in proportions that never change independently, "
            "so that only a sum of their shifts is known; add structures of other compositions"
            + (" or isolated atoms" if parent_isolated is not None else "")
            + ", or, to use the model in these proportions only, give model.finetune.refit_isolated_energies: minimal"
        )
    sizes = composition.sum(axis=1)
    return EnergyShift(
        isolated={z: isolated.get(z, float(total)) for z, total in zip(species, fit.energies, strict=True)},
        bound={z: float(t) - isolated[z] for z, t in zip(species, fit.energies, strict=True) if z in isolated},
        frames=len(training),
        rms_before=_rms(difference / sizes),
        rms_after=_rms((difference - composition @ fit.energies) / sizes),
        undetermined=groups,
        ignored_isolated=0 if parent_isolated is not None else len(pairs) - len(training),
    )


def _linked(fit: RidgeFit, species: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of species that the compositions do not tell apart: those that a direction left open joins."""
    groups: list[set[int]] = []
    for row in fit.left_open[fit.undetermined]:
        joined = {z for z, value in zip(species, row, strict=True) if abs(value) > 1e-6}
        for group in [group for group in groups if group & joined]:
            groups.remove(group)
            joined |= group
        groups.append(joined)
    return tuple(tuple(sorted(group)) for group in sorted(groups, key=min))


def _spoken(groups: Sequence[Sequence[int]]) -> str:
    names = [[SYMBOLS[z] for z in group] for group in groups]
    return "; ".join(f"{', '.join(group[:-1])} and {group[-1]}" for group in names)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
