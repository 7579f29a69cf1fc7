import numpy as np
import pytest

from equinet.data import separate_isolated_atoms, split_records
from equinet.errors import InputError
from tests.data.frames import atom, record


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positions": np.zeros((3, 2))}, r"positions must have the shape \[2, 3\]"),
        ({"positions": np.full((2, 3), np.nan)}, "positions has values that are not finite"),
        ({"forces": np.zeros((1, 3))}, r"forces must have the shape \[2, 3\]"),
        ({"virial": np.zeros(6)}, r"virial must have the shape \[3, 3\]"),
        ({"energy": float("nan")}, "energy has values that are not finite"),
    ],
)
def test_a_record_checks_itself(changes, says):
    with pytest.raises(InputError, match=f"H2 of the tests: {says}"):
        record("H2", **changes)


def test_a_record_keeps_no_view_of_the_caller():
    positions = np.zeros((1, 3))
    ours = record("H", positions=positions)
    positions += 1.0
    np.testing.assert_array_equal(ours.positions, 0.0)


def test_isolated_atoms():
    box = {"cell": 10.0 * np.eye(3), "pbc": np.ones(3, dtype=bool)}
    isolated = [atom("H", -13.6), atom("H", -13.6, info={"config_type": "IsolatedAtom"}, **box)]
    others = [atom("Cu", -3.5, **box), record("H2", -31.0), record("H2", -1.0, info={"config_type": "IsolatedAtom"})]
    assert separate_isolated_atoms([*others, *isolated]) == (isolated, others)


def test_split_is_a_partition_that_the_seed_decides():
    records = [record("H2", float(i)) for i in range(50)] + [atom("H", -13.6)]
    train, validation = split_records(records, 0.2, seed=3)
    assert len(validation) == 10
    assert sorted(map(id, train + validation)) == sorted(map(id, records))
    assert records[-1] in train
    assert [r.energy for r in validation] == sorted(r.energy for r in validation)
    again = split_records(records, 0.2, seed=3)
    assert [r.energy for r in again[1]] == [r.energy for r in validation]
    other = split_records(records, 0.2, seed=4)
    assert [r.energy for r in other[1]] != [r.energy for r in validation]


def test_split_leaves_nobody_empty_handed():
    records = [record("H2", float(i)) for i in range(3)]
    assert [len(part) for part in split_records(records, 0.01, seed=0)] == [2, 1]
    assert [len(part) for part in split_records(records, 0.99, seed=0)] == [1, 2]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_split_fraction_out_of_range(fraction):
    with pytest.raises(InputError, match="fraction must lie between 0 and 1"):
        split_records([record("H2"), record("H2")], fraction, seed=0)


def test_split_of_too_few():
    with pytest.raises(InputError, match="1 frames cannot be divided"):
        split_records([record("H2", -1.0), atom("H", -1.0)], 0.5, seed=0)
