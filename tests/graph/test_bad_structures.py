"""Structures that cannot be right are refused in one line that says what is wrong and what to do."""

import numpy as np
import pytest

from equinet.errors import InputError
from equinet.graph import build_graph

CELL = np.array([[4.0, 0.0, 0.0], [0.5, 4.0, 0.0], [0.0, -0.3, 5.0]])
GOOD = {
    "positions": np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.2], [2.0, 2.0, 2.0]]),
    "numbers": np.array([1, 6, 8]),
    "cell": CELL,
    "pbc": np.array([True, True, True]),
    "cutoff": 3.0,
}


def replaced(array: np.ndarray, index, value) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


POSITIONS = GOOD["positions"]
BAD = {
    "NaN": ({"positions": replaced(POSITIONS, (1, 2), np.nan)}, "position of atom 1 is not finite"),
    "infinity": ({"positions": replaced(POSITIONS, (2, 0), np.inf)}, "position of atom 2 is not finite"),
    "one place": ({"positions": replaced(POSITIONS, 2, POSITIONS[0])}, "atoms 0 and 2 are at one place"),
    "nearly one place": ({"positions": replaced(POSITIONS, 2, [0, 0, 9e-5])}, "atoms 0 and 2 .* remove one"),
    "one place through the boundary": (
        {"positions": replaced(POSITIONS, 2, CELL[0] - 2 * CELL[1] + CELL[2])},
        "atoms 0 and 2 are at one place",
    ),
    "one place, no cell": (
        {"positions": replaced(POSITIONS, 2, POSITIONS[1]), "cell": np.zeros((3, 3)), "pbc": [False] * 3},
        "atoms 1 and 2 are at one place",
    ),
    "periodic, no vector": ({"cell": replaced(CELL, 1, 0.0)}, "periodic direction b has no .* cell vector"),
    "periodic, no cell": ({"cell": np.zeros((3, 3))}, "periodic direction a has no .*set pbc to False"),
    "parallel vectors": ({"cell": replaced(CELL, 2, -2 * CELL[0])}, "linearly dependent"),
    "vectors in a plane": ({"cell": replaced(CELL, 2, CELL[0] + CELL[1])}, "linearly dependent"),
    "parallel, slab": ({"cell": replaced(CELL, 1, CELL[0]), "pbc": [True, True, False]}, "linearly dependent"),
    "in the wrong unit": ({"cell": np.array(CELL) * 1e-3}, "A thin along a periodic direction"),
    "cell NaN": ({"cell": replaced(CELL, (2, 2), np.nan)}, "cell is not finite"),
    "cell NaN, open": ({"cell": replaced(CELL, 2, np.nan), "pbc": [True, True, False]}, "cell is not finite"),
    "cell infinite": ({"cell": replaced(CELL, (0, 0), np.inf)}, "cell is not finite"),
    "empty": ({"positions": np.zeros((0, 3)), "numbers": np.zeros(0, int)}, "no atoms; remove it"),
    "too few numbers": ({"numbers": [1, 6]}, r"positions must be \[N, 3\] and numbers \[N\]"),
    "flat positions": ({"positions": POSITIONS.ravel()}, r"positions must be \[N, 3\]"),
    "two coordinates": ({"positions": POSITIONS[:, :2]}, r"positions must be \[N, 3\]"),
    "cell lengths": ({"cell": [4.0, 4.0, 4.0]}, r"cell must be \[3, 3\] and pbc \[3\]"),
    "one pbc": ({"pbc": True}, r"cell must be \[3, 3\] and pbc \[3\]"),
    "cutoff 0": ({"cutoff": 0.0}, "cutoff must be positive"),
    "cutoff negative": ({"cutoff": -1.0}, "cutoff must be positive"),
    "cutoff NaN": ({"cutoff": np.nan}, "cutoff must be positive"),
    "cutoff infinite": ({"cutoff": np.inf}, "cutoff must be positive and finite"),
}


def test_the_structure_these_are_made_of_is_good():
    assert len(build_graph(**GOOD).senders) > 0


@pytest.mark.parametrize("name", BAD)
def test_bad_structure(name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message) as error:
        build_graph(**(GOOD | changes))
    assert "\n" not in str(error.value)


def test_open_directions_need_no_vector():
    """An atom at a lattice vector of an open direction is an atom of its own, and padding does not matter."""
    positions = replaced(POSITIONS, 2, CELL[2])
    slab = GOOD | {"positions": positions, "pbc": [True, True, False]}
    graph = build_graph(**slab)
    for row in (0.0, [0.0, 0.0, 1e-9], CELL[0], [9.0, 9.0, 9.0]):
        other = build_graph(**(slab | {"cell": replaced(CELL, 2, row)}))
        assert other.senders.tolist() == graph.senders.tolist()
        assert other.images.tolist() == graph.images.tolist()
