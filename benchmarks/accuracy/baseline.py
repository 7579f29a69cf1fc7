"""What a copy of the nearest training frame would score: a model that is not far better has learnt nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.twins import Nearest, composition, describe, matching
from equinet.data import Record
from equinet.data.atomic_energies import composition_matrix, ridge_toward
from equinet.training.evaluation import FramePrediction

Array = NDArray[np.float64]


def copy_nearest(
    test: Sequence[Record], train: Sequence[Record], nearest: Sequence[Nearest]
) -> tuple[list[FramePrediction], int]:
    """Predict energies per atom, and forces of molecules, by copying the nearest training frame's labels.

    Forces of molecules are turned with the frame (:func:`turned_forces`); those of periodic structures are zero, the
    better guess for thermal frames whose displacements have nothing to do with each other. Energies of frames
    without a comparable training frame come from a sum over atoms fitted to the training energies.

    Returns:
        Predictions in the order of the test, without stress; how many frames had nothing to copy.
    """
    labelled = [record for record in train if record.energy is not None]
    fit = _AtomSums(labelled) if labelled else None
    predictions, missing = [], 0
    for record, near in zip(test, nearest, strict=True):
        forces = np.zeros((len(record.numbers), 3))
        source = None if near.index is None else train[near.index]
        if source is None or source.energy is None:
            missing += 1
            energy = fit.energy(record) if fit else 0.0
        else:
            energy = source.energy / len(source.numbers) * len(record.numbers)
            if not record.pbc.any() and source.forces is not None and len(source.numbers) == len(record.numbers):
                forces = turned_forces(source, record)
        predictions.append(FramePrediction(record, energy, forces, None))
    return predictions, missing


class _AtomSums:
    """Energies as sums over atoms, by species."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.species = sorted({int(z) for record in records for z in np.unique(record.numbers)})
        energies = np.array([record.energy for record in records], dtype=np.float64)
        matrix = composition_matrix(records, self.species)
        prior = np.full(len(self.species), (energies / matrix.sum(axis=1)).mean())
        self.energies = dict(zip(self.species, ridge_toward(matrix, energies, prior).energies, strict=True))
        self.other = float(prior[0])

    def energy(self, record: Record) -> float:
        return float(sum(self.energies.get(int(z), self.other) for z in record.numbers))


def turned_forces(source: Record, target: Record) -> Array:
    """Forces of one frame of a molecule on the atoms of another, turned (and mirrored, if that fits better) onto it.

    Atoms correspond as they stand in the files, or as their environments match, whichever superposes better.

    Raises:
        ValueError: the two are not of the same atoms, or the source has no forces.
    """
    if composition(source) != composition(target) or len(source.numbers) != len(target.numbers):
        raise ValueError(f"{source.source} and {target.source} are not of the same atoms")
    if source.forces is None:
        raise ValueError(f"{source.source} has no forces")
    orders = [matching(*describe([target, source]))]
    if np.array_equal(source.numbers, target.numbers):
        orders.insert(0, np.arange(len(source.numbers)))
    fits = [(*superpose(source.positions[order], target.positions), order) for order in orders]
    _, rotation, order = min(fits, key=lambda fit: fit[0])
    return np.asarray(source.forces[order] @ rotation.T)


def superpose(moving: Array, fixed: Array) -> tuple[float, Array]:
    """Rms distance of two sets of points after the best rotation or rotoinversion, and its matrix [3, 3]: fixed = R
    moving (Kabsch, Acta Cryst. A 32, 922 (1976); here without the restriction to proper rotations)."""
    a, b = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    rotation = left @ right
    return float(np.sqrt(((b - a @ rotation.T) ** 2).sum(axis=1).mean())), rotation
