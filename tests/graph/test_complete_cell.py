"""Open directions get normals, whatever stands in their rows."""

from itertools import product

import numpy as np
import pytest

from equinet.errors import InputError
from equinet.graph.periodic import complete_cell

CELLS = {
    "along the axes": np.diag([3.0, 4.0, 5.0]),
    "axes exchanged": np.diag([3.0, 4.0, 5.0])[[1, 2, 0]],
    "triclinic": np.array([[3.0, 0.5, -1.0], [-2.0, 4.0, 0.3], [1.0, 2.0, 6.0]]),
    "left-handed": np.array([[-2.0, 4.0, 0.3], [3.0, 0.5, -1.0], [1.0, 2.0, 6.0]]),
    "minute": np.diag([3e-6, 4e-6, 5e-6]),
}


@pytest.mark.parametrize("padding", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("pbc", list(product([True, False], repeat=3)), ids=str)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_open_rows_are_normal_to_all_others(cell, pbc, padding):
    periodic = np.array(pbc)
    given = np.where(periodic[:, None], cell, padding)
    given.setflags(write=False)
    complete = complete_cell(given, periodic)
    assert np.array_equal(complete[periodic], cell[periodic])
    normals, rows = complete[~periodic], complete[periodic]
    assert np.allclose(normals @ normals.T, np.eye(len(normals)), rtol=0, atol=1e-12)
    assert np.allclose(normals @ rows.T, 0, rtol=0, atol=1e-12)
    assert abs(np.linalg.det(complete)) > 0


@pytest.mark.parametrize("row", [0.0, 1e-9, np.nan, np.inf, [1.0, np.nan, 0.0]], ids=str)
@pytest.mark.parametrize("direction", [0, 1, 2])
def test_missing_vector_is_named(direction, row):
    cell = np.diag([3.0, 4.0, 5.0])
    cell[direction] = row
    with pytest.raises(InputError, match=f"periodic direction {'abc'[direction]} has no finite, non-zero cell vector"):
        complete_cell(cell, np.array([True] * 3))


def test_dependence_does_not_depend_on_units():
    """Short and long vectors that are well apart in angle are accepted; a flat cell is not."""
    cell = np.array([[1e-4, 0.0, 0.0], [0.0, 1e4, 0.0], [0.0, 0.0, 1.0]])
    assert np.array_equal(complete_cell(cell, np.array([True] * 3)), cell)
    with pytest.raises(InputError, match="linearly dependent"):
        complete_cell(np.array([[1e4, 0.0, 0.0], [1e4, 1e-4, 0.0], [0.0, 0.0, 1.0]]), np.array([True] * 3))
