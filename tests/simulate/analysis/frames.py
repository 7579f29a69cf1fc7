"""Frames made of arrays, with what a trajectory would say of them."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from equinet.simulate.analysis.trajectory import Frame


class Straight(Calculator):
    """Keeps three atoms on a line: springs to the first, and one that holds it in the middle."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        bonds = atoms.positions[1:] - atoms.positions[0]
        lengths, bend = np.linalg.norm(bonds, axis=1), bonds.sum(axis=0)
        pulls = -30.0 * ((lengths - 1.2) / lengths)[:, None] * bonds - 5.0 * bend
        energy = 15.0 * np.sum((lengths - 1.2) ** 2) + 2.5 * bend @ bend
        self.results = {"energy": energy, "forces": np.stack([-pulls.sum(axis=0), *pulls])}


def dioxide():
    return Atoms("CO2", [[0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]], calculator=Straight())


def trimer():
    return Atoms("Cu3", [[0, 0, 0], [2.3, 0, 0], [1.15, 2.0, 0]])


def frame(positions, cell=None, number=0, numbers=None, velocities=None, time=None, pbc=True, masses=None, energy=None):
    positions = np.asarray(positions, float)
    count = len(positions)
    return Frame(
        number=number,
        numbers=np.full(count, 14) if numbers is None else np.asarray(numbers),
        positions=positions,
        cell=np.zeros((3, 3)) if cell is None else np.asarray(cell, float),
        pbc=np.broadcast_to(np.asarray(pbc), 3).copy(),
        masses=np.full(count, 28.0) if masses is None else np.asarray(masses, float),
        velocities=velocities,
        potential_energy=energy,
        time_ps=time,
    )


def moved(positions, dt=0.01, cell=None, wrap=False, **more):
    """Frames of positions [T, N, 3], cells [3, 3] or [T, 3, 3]; velocities [T, N, 3] among `more`."""
    velocities = more.pop("velocities", None)
    for t, here in enumerate(positions):
        box = cell if cell is None or np.ndim(cell) == 2 else cell[t]
        if wrap:
            here = (np.linalg.solve(box.T, here.T).T % 1.0) @ box
        speed = None if velocities is None else velocities[t]
        yield frame(here, box, t, time=t * dt, velocities=speed, **more)
