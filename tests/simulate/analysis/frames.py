"""Frames made of arrays, with what a trajectory would say of them."""

import numpy as np

from equinet.simulate.analysis.trajectory import Frame


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
