"""What is known of every frame of a data set without reading it: how large it is and which labels it has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equinet.data.record import Record


@dataclass(frozen=True)
class FrameSizes:
    """Of F frames, in the order of their data set.

    Attributes:
        atoms: [F] int64.
        has_energy: [F] bool.
        has_forces: [F] bool.
        has_stress: [F] bool; only frames that are periodic in three directions have a stress.
    """

    atoms: NDArray[np.int64]
    has_energy: NDArray[np.bool_]
    has_forces: NDArray[np.bool_]
    has_stress: NDArray[np.bool_]

    def label_counts(self) -> NDArray[np.int64]:
        """[F, 3]: labelled energies, atoms with forces, and stresses of each frame; what losses are means over."""
        return np.stack([self.has_energy, self.has_forces * self.atoms, self.has_stress], axis=1).astype(np.int64)


def frame_sizes(records: Sequence[Record]) -> FrameSizes:
    """Sizes and labels of records."""
    return FrameSizes(
        atoms=np.array([len(record.numbers) for record in records], dtype=np.int64),
        has_energy=np.array([record.energy is not None for record in records], dtype=bool),
        has_forces=np.array([record.forces is not None for record in records], dtype=bool),
        has_stress=np.array([record.stress is not None for record in records], dtype=bool),
    )
