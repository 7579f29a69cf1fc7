"""Frames observed and read in turn give what the whole file gives, or are refused when they come."""

import json
import warnings

import pytest

from equinet.data import LabelKeys
from equinet.data.labels import LabelReader, Tally
from equinet.errors import DataWarning, InputError
from tests.data.frames import forces_of, silicon, slab, water


def whole(frames, keys=None):
    reader = LabelReader("file", keys)
    for atoms in frames:
        reader.observe(atoms)
    return [reader.read(atoms, f"file frame {i}") for i, atoms in enumerate(frames)], reader.finish()


def in_turn(frames, keys=None, stop=None):
    """Stopped after some frames, the rest is read by another reader that knows the tally alone, through JSON."""
    reader, records = LabelReader("file", keys), []
    for i, atoms in enumerate(frames):
        if i == stop:
            reader = LabelReader("file", keys, Tally.from_dict(json.loads(json.dumps(reader.tally.to_dict()))))
        reader.observe(atoms)
        records.append(reader.read(atoms, f"file frame {i}"))
    return records, reader.finish()


def reference(number, **results):
    atoms = water(**results)
    atoms.info["REF_energy"] = number
    return atoms


CASES = {
    "labels that come late": [water(), water(), water(energy=-1.0), water(energy=-2.0, forces=forces_of(water()))],
    "a free energy that comes late": [water(energy=-1.0), water(energy=-1.0, free_energy=-1.0), water(energy=-2.0)],
    "a free energy that differs": 3 * [water(energy=-1.0, free_energy=-1.1)],
    "stress of a slab": [slab(energy=-1.0, stress=6 * [0.1]), silicon(energy=-1.0, stress=6 * [0.1])],
    "two names": [reference(-1.0, energy=-1.0), reference(-2.0, energy=-1.0)],
}


@pytest.mark.parametrize("stop", [None, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_in_turn_as_as_a_whole(name, stop):
    with warnings.catch_warnings(record=True) as expected:
        warnings.simplefilter("always")
        records, report = whole(CASES[name])
    with warnings.catch_warnings(record=True) as got:
        warnings.simplefilter("always")
        ours, our_report = in_turn(CASES[name], stop=stop)
    assert our_report == report
    assert [str(w.message) for w in got] == [str(w.message) for w in expected]
    for mine, theirs in zip(ours, records, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert (mine.energy, mine.energy_key, mine.info) == (theirs.energy, theirs.energy_key, theirs.info)
            assert (mine.forces is None, mine.virial is None) == (theirs.forces is None, theirs.virial is None)


CLASHES = {
    "mixed energy keys: 2 of 3 frames have 'energy', 1 others only 'REF_energy'": [
        water(energy=-1.0),
        water(energy=-1.0),
        reference(-1.0),
    ],
    "mixed energy keys: 1 of 2 frames have 'energy', 1 others only 'REF_energy'": [reference(-1.0), water(energy=-1.0)],
    "mixed energy keys: 1 frames have 'energy' only, and in 1 others": [
        water(energy=-1.0),
        water(energy=-1.0, free_energy=-1.1),
    ],
}


@pytest.mark.parametrize("stop", [None, 1])
@pytest.mark.parametrize("says", CLASHES)
def test_clashes_are_refused_both_ways(says, stop):
    for read in (whole, lambda frames: in_turn(frames, stop=stop)):
        with pytest.raises(InputError, match=says):
            read(CLASHES[says])


def test_a_named_key_that_comes_late():
    frames = [water(), reference(-1.0)]
    with pytest.warns(DataWarning, match="1 of 2 frames carry no label"):
        records, report = in_turn(frames, LabelKeys(energy="REF_energy"))
    assert [record and record.energy for record in records] == [None, -1.0]
    assert report.keys.energy == "REF_energy"
    with pytest.raises(InputError, match="no frame has the key 'REF_enrgy'"):
        in_turn(frames, LabelKeys(energy="REF_enrgy"))


def test_what_is_kept_of_a_file_does_not_grow_with_its_frames():
    reader = LabelReader("file")
    sizes = []
    for i in range(3000):
        atoms = water(energy=-1.0)
        atoms.info[f"key of frame {i}"] = 1
        reader.observe(atoms)
        reader.read(atoms, "file")
        sizes.append(len(json.dumps(reader.tally.to_dict())))
    assert sizes[2999] < sizes[1500] + 20
