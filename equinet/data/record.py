"""One labelled structure, as every reader returns it and everything downstream takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError


@dataclass(frozen=True, eq=False)
class Record:
    """One structure and its labels; every label is optional.

    Raises:
        InputError: on construction, when shapes do not fit, a number is not finite, or a cell has no volume.
    """

    numbers: NDArray[np.int64]  # [N], atomic numbers
    positions: NDArray[np.float64]  # [N, 3], Angstrom
    cell: NDArray[np.float64]  # [3, 3], rows are lattice vectors, Angstrom
    pbc: NDArray[np.bool_]  # [3]
    energy: float | None = None  # eV, whole structure
    forces: NDArray[np.float64] | None = None  # [N, 3], eV/Angstrom
    virial: NDArray[np.float64] | None = None  # [3, 3], eV; -dE/dstrain = -volume * stress
    info: Mapping[str, Any] = field(default_factory=dict)  # what else the file says about the frame
    source: str = "a structure"  # "FILE frame 12"
    energy_key: str | None = None  # the key the energy was read from

    def __post_init__(self) -> None:
        numbers = np.asarray(self.numbers, dtype=np.int64)
        n = len(numbers)
        _set(self, "numbers", numbers)
        pbc = np.array(self.pbc, dtype=bool)
        _set(self, "pbc", pbc if pbc.shape == (3,) else np.broadcast_to(pbc, (3,)).copy())
        _set(self, "positions", _finite(self.positions, (n, 3), "positions", self.source))
        _set(self, "cell", _finite(self.cell, (3, 3), "cell", self.source))
        volume = self.volume
        if volume is not None and volume < 1e-6:
            raise InputError(
                f"{self.source}: periodic in three directions, but the cell has no volume; correct the cell or pbc"
            )
        if self.energy is not None:
            _set(self, "energy", float(_finite(self.energy, (), "energy", self.source)))
        if self.forces is not None:
            _set(self, "forces", _finite(self.forces, (n, 3), "forces", self.source))
        if self.virial is not None:
            _set(self, "virial", _finite(self.virial, (3, 3), "virial", self.source))

    @property
    def volume(self) -> float | None:
        """Cell volume in Angstrom^3; None unless periodic in three directions (padding has no volume)."""
        return abs(float(np.linalg.det(self.cell))) if self.pbc.all() else None

    @property
    def stress(self) -> NDArray[np.float64] | None:
        """Stress [3, 3] in eV/Angstrom^3, ASE's sign; None without a virial or three-dimensional cell."""
        if self.virial is None or self.volume is None:
            return None
        return np.asarray(-self.virial / self.volume)

    @property
    def is_isolated_atom(self) -> bool:
        """Whether this is a free atom: one atom, and no periodicity or ``config_type=IsolatedAtom``."""
        return len(self.numbers) == 1 and (not self.pbc.any() or is_called_isolated(self.info))


def is_called_isolated(info: Mapping[str, Any]) -> bool:
    """Whether ``config_type`` says IsolatedAtom, in any spelling."""
    return str(info.get("config_type", "")).lower().replace("_", "").replace(" ", "") == "isolatedatom"


def _set(record: Record, name: str, value: object) -> None:
    object.__setattr__(record, name, value)  # the one place where a frozen record is normalised


def _finite(value: object, shape: tuple[int, ...], name: str, source: str) -> NDArray[np.float64]:
    array = np.array(value, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{source}: {name} must have the shape {list(shape)}, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{source}: {name} has values that are not finite; correct or remove the frame")
    return array
