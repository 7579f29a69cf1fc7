"""What atoms did over a trajectory: unwrapped displacements and velocities, in memory, for correlations in time.

All time origins of all atoms are wanted at once, so memory grows with the trajectory. How much is known: one that does
not fit is refused as soon as that is sure.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.graph.periodic import complete_cell
from equinet.memory import held, say_bytes, there
from equinet.simulate.analysis.trajectory import Frame
from equinet.simulate.velocities import FreedomCounter

Array = NDArray[np.float64]
Single = NDArray[np.float32]

FARTHEST_JUMP = 0.4
"""Of a lattice vector, between two frames: beyond half of it the way back over the boundary is the shorter one, and
nobody can tell which the atom took."""

UNEVEN = 1e-3
"""Relative deviation of frame intervals that counts as rounding."""

ATOM_BYTES = (28, 56)
"""Of each atom of each frame, without and with velocities, as measured: 12 or 24 while frames are read, as much again
when they become arrays, for the allocator keeps the pieces, and what the analyses take."""

MEMORY_FRACTION = 0.8
"""Share of the memory that is free which a trajectory may take: the analyses want some too."""


@dataclass(frozen=True)
class Motion:
    """A trajectory at even intervals.

    Attributes:
        interval_ps: between frames.
        displacements: [T, N, 3] from the first frame, Angstrom, unwrapped. What atoms do because the cell changes its
            shape is taken out: steps are taken in fractional coordinates and turned into lengths by the cell of the
            moment, so that a breathing cell does not add to them with the distance from the origin (von Bülow,
            Bullerjahn and Hummer, J. Chem. Phys. 153, 021101 (2020)). Without the motion of the centre of mass,
            unless atoms are fixed.
        velocities: [T, N, 3] Angstrom/ps, without that of the centre of mass likewise; None where a frame has none.
        numbers: [N] atomic numbers.
        masses: [N] amu.
        fixed: [N] atoms that never moved.
        cell: [3, 3] mean over the frames, Angstrom.
        pbc: [3].
        resting_rotations: degrees of freedom of a molecule that does not turn, 2 or 3; 0 else.
        temperature_k: mean, from the velocities and all degrees of freedom that move (where the centre of mass does,
            those too); None without velocities.
    """

    interval_ps: float
    displacements: Single
    velocities: Single | None
    numbers: NDArray[np.int64]
    masses: Array
    fixed: NDArray[np.bool_]
    cell: Array
    pbc: NDArray[np.bool_]
    resting_rotations: int
    temperature_k: float | None

    def __len__(self) -> int:
        return len(self.displacements)

    @property
    def degrees_of_freedom(self) -> int:
        """Three of each atom that moves; where none is fixed less 3 of the centre of mass, and rotation at rest."""
        return 3 * int((~self.fixed).sum()) - (0 if self.fixed.any() else 3 + self.resting_rotations)

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur, in order."""
        return [int(number) for number in np.unique(self.numbers)]


class MotionRecorder:
    """Collects frames.

    Args:
        memory: bytes that they may take; None: what is free now, but for a part.
    """

    def __init__(self, memory: float | None = None) -> None:
        self._memory = memory
        self._frames: list[Frame] = []  # the first and the last, for comparison
        self._fractional: Array = np.zeros((0, 3))
        self._moved: Array = np.zeros((0, 3))
        self._displacements: list[Single] = []
        self._velocities: list[Single] = []
        self._times: list[float | None] = []
        self._numbers: list[int] = []
        self._freedom = FreedomCounter()
        self._cells = np.zeros((3, 3))

    def add(self, frame: Frame) -> None:
        """The next frame.

        Raises:
            InputError: an atom went so far that its way is not certain; the periodic directions change; the frames do
                not fit into memory.
        """
        self._check_memory(frame)
        cell = complete_cell(frame.cell, frame.pbc)
        fractional: Array = np.asarray(np.linalg.solve(cell.T, frame.positions.T).T, np.float64)
        if not self._frames:
            self._frames = [frame, frame]
            self._moved = np.zeros_like(frame.positions)
        else:
            before = self._frames[1]
            if not np.array_equal(before.pbc, frame.pbc):
                raise InputError(f"frame {frame.number}: the periodic directions change; analyse what comes before")
            steps = fractional - self._fractional
            steps[:, frame.pbc] -= np.round(steps[:, frame.pbc])
            self._check(frame, steps)
            middle = (cell + complete_cell(before.cell, before.pbc)) / 2
            self._moved = self._moved + steps @ middle
            self._frames[1] = frame
        self._fractional = np.asarray(fractional)
        self._displacements.append(self._moved.astype(np.float32))
        if frame.velocities is not None:
            self._velocities.append(frame.velocities.astype(np.float32))
            self._freedom.add(frame.positions, frame.velocities, frame.masses, frame.pbc)
        self._times.append(frame.time_ps)
        self._numbers.append(frame.number)
        self._cells += frame.cell

    def _check_memory(self, frame: Frame) -> None:
        if self._memory is None:
            self._memory = _free_memory()
        count, atoms = len(self._times) + 1, len(frame.numbers)
        each = ATOM_BYTES[frame.velocities is not None]
        if each * atoms * count > self._memory:
            self._displacements, self._velocities = [], []
            fitting = int(self._memory / (each * atoms))
            raise InputError(
                f"frame {frame.number}: correlations in time keep all frames in memory, and of {atoms} atoms "
                f"{fitting} frames fit into the {say_bytes(self._memory)} that may be taken; take fewer (--every, "
                "--start, --stop), or a machine with more memory"
            )

    def _check(self, frame: Frame, steps: Array) -> None:
        far = abs(steps[:, frame.pbc])
        if far.size and far.max() > FARTHEST_JUMP:
            atom = int(far.max(axis=1).argmax())
            raise InputError(
                f"frame {frame.number}: atom {atom} moved by {far.max():.2f} of the cell since the frame before, and "
                "its way through the periodic boundary is not certain; save frames more often, or leave --every out"
            )

    def finish(self) -> Motion:
        """All frames, at even intervals.

        Raises:
            InputError: fewer than three frames; times unknown or uneven.
        """
        count = len(self._times)
        if count < 3:
            raise InputError(f"{count} frames are too few for correlations in time; give a longer trajectory")
        interval, count = self._interval()
        first = self._frames[0]
        displacements, self._displacements = np.stack(self._displacements[:count]), []
        whole = len(self._velocities) == len(self._times)
        velocities, self._velocities = np.stack(self._velocities[:count]) if whole else None, []
        fixed = np.all(displacements == 0, axis=(0, 2))
        temperature = None
        if velocities is not None:
            temperature = _temperature(velocities, first.masses, self._freedom.count())
        if not fixed.any():
            weights = (first.masses / first.masses.sum()).astype(np.float32)
            for values in (displacements, velocities):
                if values is not None:
                    values -= np.einsum("tni,n->ti", values, weights)[:, None]
        return Motion(
            interval_ps=interval,
            displacements=displacements,
            velocities=velocities,
            numbers=first.numbers,
            masses=first.masses,
            fixed=fixed,
            cell=self._cells / len(self._times),
            pbc=first.pbc,
            resting_rotations=self._freedom.resting_rotations,
            temperature_k=temperature,
        )

    def _interval(self) -> tuple[float, int]:
        """Between frames, in ps, and how many frames have it: a last frame at the end of a run may come early."""
        times = np.array([np.nan if time is None else time for time in self._times])
        if np.isnan(times).any():
            number = self._numbers[int(np.isnan(times).argmax())]
            raise InputError(
                f"frame {number}: the file does not tell its time; give --timestep (and --interval, the steps between "
                "frames, where it has no step numbers)"
            )
        steps = np.diff(times)
        interval = float(steps[0])
        even = abs(steps - interval) < UNEVEN * abs(interval)
        count = len(times)
        if not even[-1] and 0 < steps[-1] < interval and count > 3:
            even, count = even[:-1], count - 1
        if interval <= 0 or not even.all():
            bad = int(np.argmin(even)) + 1
            raise InputError(
                f"frame {self._numbers[bad]}: {steps[bad - 1]:g} ps after the frame before, elsewhere {interval:g}; "
                "correlations in time need even intervals: choose frames with --start, --stop and --every"
            )
        return float((times[count - 1] - times[0]) / (count - 1)), count


def few_at_a_time(atoms: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Numbers of atoms, in parts whose copies take little memory."""
    return np.array_split(atoms, max(1, -(-len(atoms) // 64)))


def _free_memory() -> float:
    """Bytes that a trajectory may take; infinite where the system does not say."""
    cpu = torch.device("cpu")
    try:
        return MEMORY_FRACTION * max(there(cpu) - held(cpu), 0)
    except InputError:
        return float("inf")


def _temperature(velocities: Single, masses: Array, freedom: int) -> float:
    from ase import units

    squares = np.zeros(len(masses))
    for atoms in few_at_a_time(np.arange(len(masses))):
        squares[atoms] = np.einsum("tni,tni->n", velocities[:, atoms], velocities[:, atoms], dtype=np.float64)
    kinetic = 0.5 * float(squares @ masses) / len(velocities)
    return float(2 * kinetic / (max(freedom, 1) * units.kB) / (1000 * units.fs) ** 2)
