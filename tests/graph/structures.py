"""Random structures of every kind a neighbour search meets, and the pairs in them by brute force."""

from itertools import product
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Pair = tuple[int, int, int, int, int]


class Structure(NamedTuple):
    """Arguments of build_graph."""

    positions: NDArray[np.float64]  # [N, 3]
    numbers: NDArray[np.int64]  # [N]
    cell: NDArray[np.float64]  # [3, 3]
    pbc: NDArray[np.bool_]  # [3]
    cutoff: float


@st.composite
def structures(draw: st.DrawFn, pbc: tuple[bool, bool, bool], smallest: float = 1.3, outside: int = 3) -> Structure:
    """Triclinic, left-handed, skewed cells, smaller and larger than the cutoff; atoms far outside the cell.

    Args:
        draw: from hypothesis.
        pbc: which directions are periodic.
        smallest: least edge of the cell before it is sheared, Angstrom.
        outside: how many cells away atoms may be.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    periodic = np.array(pbc)
    size = random.uniform(smallest, 6.0)  # from the seed: what hypothesis draws itself crowds at the simplest values
    cell = np.diag(random.uniform(1.0, 1.4, 3)) * size
    cell += random.uniform(-1, 1, (3, 3)) * size * draw(st.sampled_from([0.0, 0.2, 0.35]))
    cell[1] += draw(st.sampled_from([0, 0, 1, -2])) * cell[0]  # the same lattice, skewed
    if draw(st.booleans()):  # left-handed
        cell[[0, 1]] = cell[[1, 0]]
    if draw(st.booleans()):  # no vector along its axis
        cell = cell @ np.linalg.qr(random.normal(size=(3, 3)))[0]
    atoms = random.integers(1 + (not any(pbc)), 7)
    scaled = random.uniform(-0.7, 0.7, (atoms, 3))
    if draw(st.booleans()):
        scaled += random.integers(-outside, outside + 1, (atoms, 3)) * periodic
    positions = scaled @ cell
    if draw(st.booleans()):
        cell[~periodic] = 0.0
    cutoff = random.uniform(0.8, 1.5) * size if size > 3.0 else random.uniform(2.0, 4.5)
    return Structure(positions, random.integers(1, 90, atoms), cell, periodic, cutoff)


def with_padding(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The cell with vectors normal to the periodic ones along open directions, by Gram-Schmidt."""
    padded = np.where(pbc[:, None], cell, 0.0)
    for row in np.flatnonzero(~pbc):
        others = np.linalg.qr(padded[np.any(padded != 0, axis=1)].T)[0]  # [3, n], an orthonormal basis
        candidates = np.eye(3) - others @ others.T
        longest = candidates[np.argmax(np.linalg.norm(candidates, axis=1))]
        padded[row] = longest / np.linalg.norm(longest)
    return padded


def pairs_by_brute_force(structure: Structure) -> tuple[list[Pair], float]:
    """All (receiver, sender, image) nearer than the cutoff, sorted, and how near a distance comes to the cutoff."""
    positions, _, cell, pbc, cutoff = structure
    inverse = np.linalg.inv(with_padding(cell, pbc))
    spread = np.ptp(positions @ inverse, axis=0)
    reach = np.where(pbc, np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread), 0).astype(int)
    images = np.array(list(product(*(range(-n, n + 1) for n in reach))))  # [S, 3]
    shifts = images @ np.where(pbc[:, None], cell, 0.0)
    vectors = positions[None, None] + shifts[:, None, None] - positions[None, :, None]  # [S, receiver, sender, 3]
    distances = np.linalg.norm(vectors, axis=3)
    found = [
        (receiver, sender, *images[s].tolist())
        for s, receiver, sender in np.argwhere(distances < cutoff).tolist()
        if receiver != sender or images[s].any()
    ]
    return sorted(found), float(np.abs(distances - cutoff).min())
