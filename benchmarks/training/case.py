"""What is trained: the shape of the network, and silicon with labels that are drawn.

numpy alone: both sides read it, each in its own environment.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CUTOFF = 5.0
LAYERS = 4
L_MAX = 2
CHANNELS = 64
NUM_BESSEL = 8
ENVELOPE_POWER = 6
RADIAL_HIDDEN = 64
MEAN_NEIGHBORS = 28.0
LEARNING_RATE = 1e-3

SILICON = 14
LATTICE_CONSTANT = 5.43
CELLS = 3  # conventional cells along each direction
RATTLE = 0.05
FCC = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


class Frame(NamedTuple):
    """One periodic structure and its labels; the step costs the same whatever their values."""

    numbers: NDArray[np.int64]  # [N]
    positions: NDArray[np.float64]  # [N, 3] Angstrom
    cell: NDArray[np.float64]  # [3, 3] Angstrom
    energy: float  # eV
    forces: NDArray[np.float64]  # [N, 3] eV/Angstrom
    stress: NDArray[np.float64]  # [3, 3] eV/Angstrom^3, symmetric


def silicon(repeats: int = CELLS) -> Frame:
    """A rattled diamond cell of 8 repeats^3 atoms (216 of them), the same on every machine."""
    generator = np.random.default_rng(0)
    basis = np.array([np.add(corner, shift) for corner in FCC for shift in (0.0, 0.25)])  # [8, 3]
    cells = np.stack(np.meshgrid(*[np.arange(repeats)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = LATTICE_CONSTANT * (cells + basis).reshape(-1, 3)
    atoms = len(positions)
    stress = generator.normal(0.0, 0.01, (3, 3))
    return Frame(
        numbers=np.full(atoms, SILICON, dtype=np.int64),
        positions=positions + generator.normal(0.0, RATTLE, (atoms, 3)),
        cell=np.eye(3) * LATTICE_CONSTANT * repeats,
        energy=float(atoms * generator.normal(0.0, 0.1)),
        forces=generator.normal(0.0, 1.0, (atoms, 3)),
        stress=0.5 * (stress + stress.T),
    )


def digest(frame: Frame) -> str:
    """Short checksum of the geometry and the labels: equal where both sides train on the same."""
    checksum = hashlib.sha256()
    for array in frame:
        checksum.update(np.ascontiguousarray(array).tobytes())
    return checksum.hexdigest()[:12]
