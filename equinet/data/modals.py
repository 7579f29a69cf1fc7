"""Several levels of theory in one data set: which frame is of which, and what each needs to know of its own."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equinet.data.columns import Subset, info_values
from equinet.data.record import Record
from equinet.data.statistics import Statistics, compute_statistics, pooled_statistics
from equinet.elements import SYMBOLS
from equinet.errors import DataWarning, InputError


@dataclass(frozen=True)
class Modals:
    """The levels of theory that a model is trained on; none where there is one without a name.

    Attributes:
        names: in the order of the model's.
        key: of each frame's info, whose value is one of the names.
    """

    names: tuple[str, ...] = ()
    key: str = "modal"

    def index(self, record: Record) -> int:
        """Which level a record is of; 0 where there are no names.

        Raises:
            InputError: the record does not say, or names another.
        """
        if not self.names:
            return 0
        known = ", ".join(self.names)
        if self.key not in record.info:
            raise InputError(f"{record.source}: its info has no {self.key!r}; it must be one of {known}")
        name = str(record.info[self.key])
        if name not in self.names:
            raise InputError(f"{record.source}: its {self.key} is {name!r}; it must be one of {known}")
        return self.names.index(name)

    def indices(self, records: Sequence[Record]) -> NDArray[np.int64]:
        """Which level each record is of, [F]; records of a store are not read for it.

        Raises:
            InputError: as :meth:`index`.
        """
        if not self.names:
            return np.zeros(len(records), dtype=np.int64)
        numbers = {name: number for number, name in enumerate(self.names)}
        found = [numbers.get(str(value), -1) for value in info_values(records, self.key)]
        if -1 in found:
            self.index(records[found.index(-1)])  # says what is wrong
        return np.array(found, dtype=np.int64)


def statistics_of_modals(
    records: Sequence[Record], cutoff: float, modals: Modals, priors: Mapping[str, float] | None = None
) -> Statistics:
    """Statistics of a training set with several levels of theory: E0s and shifts of each level from its own frames.

    Args:
        records: as for :func:`equinet.data.compute_statistics`.
        cutoff: Angstrom.
        modals: at least one name.
        priors: as for :func:`equinet.data.compute_statistics`, for every level.

    Returns:
        Counts and rms values of all records together, and in ``of_modals`` the statistics of each level.

    Raises:
        InputError: as :func:`equinet.data.compute_statistics`; a record of no level; a level without records.
    """
    levels = []
    of_records = modals.indices(records)
    for number, name in enumerate(modals.names):
        own = Subset(records, np.flatnonzero(of_records == number))
        if not len(own):
            raise InputError(f"no frame to train on has {modals.key} {name!r}, a name in model.architecture.modals")
        levels.append(replace(compute_statistics(own, cutoff, priors), modal=name))
    return pooled_statistics(records, cutoff, levels)


def reference_energies(statistics: Statistics) -> tuple[list[float], list[float]] | tuple[list[list[float]], ...]:
    """E0 and shift of each species, eV; with levels of theory a list for each level.

    An element that a level's frames lack has the E0 and shift of the first level that has it, with a warning: they
    mean little there.
    """
    if not statistics.of_modals:
        return list(statistics.isolated_energies), list(statistics.shift)
    isolated: list[list[float]] = []
    shifts: list[list[float]] = []
    for level in statistics.of_modals:
        isolated.append([])
        shifts.append([])
        for number in statistics.species:
            source = level
            if number not in level.species:
                source = next(other for other in statistics.of_modals if number in other.species)
                symbol = SYMBOLS[number]
                warnings.warn(
                    f"no frame of {level.modal} has {symbol}; its E0 is taken from {source.modal}, so do not use "
                    f"{level.modal} for {symbol}",
                    DataWarning,
                )
            place = source.species.index(number)
            isolated[-1].append(source.isolated_energies[place])
            shifts[-1].append(source.shift[place])
    return isolated, shifts
