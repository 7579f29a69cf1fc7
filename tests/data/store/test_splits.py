"""Parts of a store: the frames that lists would give, groups kept whole, names that lead back to them."""

import numpy as np
import pytest

from equinet.data import Modals, Store, build_store, open_records, read_records, split_indices, split_records
from equinet.data.splits import isolated_indices
from equinet.data.store.splits import divide, names_of_splits, write_split
from equinet.errors import InputError
from tests.data.store.conftest import LIMITS


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_split_indices_choose_what_split_records_chooses(store, files, fraction):
    records = [record for path in files for record in read_records(path)]
    parts = split_indices(store, fraction, seed=3)
    for indices, part in zip(parts, split_records(records, fraction, seed=3), strict=True):
        assert [store[int(i)].source for i in indices] == [record.source for record in part]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(35))
    isolated, others = isolated_indices(store)
    assert set(isolated) <= set(parts[0])
    assert len(isolated) + len(others) == 35


def test_the_frames_chosen_do_not_change_between_versions(store):
    """Splits of published runs stay what they were."""
    np.testing.assert_array_equal(split_indices(store, 0.1, seed=0)[1], [2, 12, 27])


def test_at_random(store):
    train, val = divide(store, [0.5, 0.25], seed=1)
    isolated = isolated_indices(store)[0]
    assert len(train) == len(isolated) + 16
    assert len(val) == 8
    assert not set(train) & set(val)
    assert set(isolated) <= set(train)
    again = divide(store, [0.5, 0.25], seed=1)
    np.testing.assert_array_equal(again[0], train)
    assert not np.array_equal(divide(store, [0.5, 0.25], seed=2)[0], train)
    assert sum(map(len, divide(store, [0.3, 0.3, 0.4]))) == 35


@pytest.mark.parametrize("by", ["composition", "dataset"])
def test_what_belongs_together_stays_together(store, by):
    parts = divide(store, [0.6, 0.4], by)
    values = store.dataset if by == "dataset" else [_reduced(r) for r in store]
    structures = set(isolated_indices(store)[1])
    kinds = [{values[i] for i in part if i in structures} for part in parts]
    assert all(kinds)
    assert not kinds[0] & kinds[1]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(35))


def _reduced(record):
    elements, counts = np.unique(record.numbers, return_counts=True)
    return tuple(elements), tuple(counts / counts.sum())


def test_by_group(tmp_path, store):
    text = (
        "1\nProperties=species:S:1:pos:R:3 {}energy=-1.0\nHe 0 0 0\n2\nProperties=species:S:1:pos:R:3 {}energy=-1.0\n"
    )
    text += "H 0 0 0\nH 0 0 1\n"
    path = tmp_path / "groups.extxyz"
    path.write_text("".join(text.format("", f"group={letter} ") for letter in "aaaabbc"))
    build_store([path], tmp_path / "GROUPS")
    grouped = Store(tmp_path / "GROUPS")
    first, second, third = divide(grouped, [0.6, 0.3, 0.1], "group")
    letters = [{grouped[i].info["group"] for i in part if i % 2} for part in (first, second, third)]
    assert letters == [{"a"}, {"b"}, {"c"}]
    assert set(range(0, 14, 2)) <= set(first)  # isolated atoms
    with pytest.raises(InputError, match=r"first\.extxyz frame 0: its info has no 'group' to split by"):
        divide(store, [0.5, 0.5], "group")
    with pytest.raises(InputError, match="part 4 of the split is empty: too few kinds of group"):
        divide(grouped, [0.4, 0.3, 0.2, 0.1], "group")


@pytest.mark.parametrize(
    "fractions", [[], [0.5, 0.6], [0.5, 0.0], [1.5], [-0.1], [float("nan"), 0.1], [0.1, float("nan")]]
)
def test_fractions_that_cannot_be(store, fractions):
    with pytest.raises(InputError, match="must be positive and add up to at most 1"):
        divide(store, fractions)


def test_names(store, files):
    parts = divide(store, [0.8, 0.2])
    write_split(store, "train", parts[0], {"seed": 0})
    write_split(store, "val", parts[1], {"seed": 0})
    assert names_of_splits(store.path) == ["train", "val"]
    opened = open_records(f"{store.path}:val")
    np.testing.assert_array_equal(opened.indices, parts[1])
    assert opened[0].source == store[int(parts[1][0])].source
    write_split(store, "val", parts[1], {"seed": 0})  # the same again
    with pytest.raises(InputError, match="another split has this name"):
        write_split(store, "val", parts[0], {"seed": 1})
    with pytest.raises(InputError, match="has no split 'tset'; there are: train, val"):
        open_records(f"{store.path}:tset")
    with pytest.raises(InputError, match="cannot be the name of a split"):
        write_split(store, "../x", parts[0], {})


def test_a_split_of_another_state_of_the_store(tmp_path, files):
    build_store(files[:1], tmp_path / "STORE", limits=LIMITS)
    store = Store(tmp_path / "STORE")
    write_split(store, "train", np.arange(5), {})
    build_store(files[1:], tmp_path / "STORE", limits=LIMITS)
    with pytest.raises(InputError, match="was made when the store held 25 structures, other than now"):
        open_records(f"{store.path}:train")


def test_levels_of_theory_by_columns(store, files):
    modals = Modals(("g0", "g1", "g2", "g3"), "group")
    named = [i for i, value in enumerate(store.info_values("group")) if value is not None]
    part = store[0:35]
    with pytest.raises(InputError, match="frame 0: its info has no 'group'"):
        modals.indices(part)
    from equinet.data import Subset

    part = Subset(store, named)
    np.testing.assert_array_equal(modals.indices(part), [modals.index(record) for record in part])
    with pytest.raises(InputError, match="its group is 'g3'; it must be one of g0, g1, g2"):
        Modals(modals.names[:3], "group").indices(part)
