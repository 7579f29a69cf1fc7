"""Frames of a trajectory as analyses want them: one at a time, the same atoms in each, with the time if it is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from equinet.data.files import iterate_atoms
from equinet.errors import InputError

Array = NDArray[np.float64]

DEVIATION = 1e-4
"""Relative, of a time that a file has from that of the step: more than rounding."""


@dataclass(frozen=True)
class Frame:
    """One moment.

    Attributes:
        number: in the file, from 0.
        numbers: [N] atomic numbers.
        positions: [N, 3] Angstrom, wrapped or not.
        cell: [3, 3], rows are lattice vectors, Angstrom.
        pbc: [3].
        masses: [N] amu.
        velocities: [N, 3] Angstrom/ps; None where the file has none.
        potential_energy: eV; None where the file has none.
        time_ps: None where it is not known.
    """

    number: int
    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    masses: Array
    velocities: Array | None = None
    potential_energy: float | None = None
    time_ps: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """A file, and which of its frames; iterated as often as one likes, it is read anew each time.

    Attributes:
        path: the file.
        start: first frame.
        stop: the frame before which to stop; None: the end.
        every: take one frame in so many.
        timestep_fs: of the dynamics, for files that do not tell the time.
        interval: steps between frames, for files without step numbers.
    """

    path: Path
    start: int = 0
    stop: int | None = None
    every: int = 1
    timestep_fs: float | None = None
    interval: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or self.every < 1 or (self.stop is not None and self.stop <= self.start):
            raise InputError(
                f"frames from {self.start} to {self.stop} by {self.every} make no sense; give 0 <= --start < --stop "
                "and --every of 1 or more"
            )
        if self.timestep_fs is not None and not (np.isfinite(self.timestep_fs) and self.timestep_fs > 0):
            raise InputError(f"a time step of {self.timestep_fs} fs makes no sense; give a number above 0")

    def __iter__(self) -> Iterator[Frame]:
        """The frames.

        Raises:
            InputError: the file cannot be read or has no such frames; the atoms change; times that are not those of the
                time step.
        """
        numbers = None
        stop = None if self.stop is None else self.stop - self.start
        for number, atoms in islice(iterate_atoms(self.path, start=self.start), 0, stop, self.every):
            if numbers is None:
                numbers = atoms.numbers
            elif not np.array_equal(numbers, atoms.numbers):
                raise InputError(
                    f"{self.path} frame {number}: not the atoms of the frames before, in the same order; a trajectory "
                    "of one system is needed (--start, --stop)"
                )
            yield self._frame(number, atoms)
        if numbers is None:
            raise InputError(f"{self.path}: no frames from number {self.start} on; give a smaller --start")

    def _frame(self, number: int, atoms: Atoms) -> Frame:
        step = atoms.info.get("step")
        if not isinstance(step, int | np.integer):
            step = None if self.interval is None else number * self.interval
        time = atoms.info.get("time_ps")
        if step is not None and self.timestep_fs is not None:
            told = step * self.timestep_fs / 1000
            if time is not None and abs(time - told) > DEVIATION * abs(told):
                raise InputError(
                    f"{self.path} frame {number}: the file says that step {step} is at {time:g} ps, and by a time step "
                    f"of {self.timestep_fs:g} fs it is at {told:g} ps; leave --timestep out"
                )
            time = told if time is None else time
        velocities = atoms.get_velocities() if atoms.has("momenta") and np.any(atoms.get_momenta()) else None
        results = {} if atoms.calc is None else atoms.calc.results
        return Frame(
            number=number,
            numbers=atoms.numbers.astype(np.int64),
            positions=atoms.positions,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            masses=atoms.get_masses(),
            velocities=None if velocities is None else velocities * (1000 * units.fs),
            potential_energy=float(results["energy"]) if "energy" in results else None,
            time_ps=None if time is None else float(time),
        )
