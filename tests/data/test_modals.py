"""Levels of theory in a data set: which frame is of which, and statistics of each."""

import json

import numpy as np
import pytest

from equinet.data import Modals, Statistics, reference_energies, statistics_of_modals, summarize
from equinet.errors import DataWarning, InputError
from tests.data.frames import atom, record

BOTH = Modals(("PBE", "R2SCAN"))
E0 = {"H": -13.6, "C": -1030.0, "O": -2040.0}
OFFSET = {"H": -1.0, "C": -2.0, "O": -4.0}


def of(modal, made):
    return type(made)(**{**vars(made), "info": {"modal": modal}})


def frames(modal, formulas, noise=0.0):
    """Energies that are sums of E0, which differ by level; isolated atoms too."""
    energy = {s: E0[s] + (OFFSET[s] if modal == "R2SCAN" else 0.0) for s in E0}
    sums = {f: sum(energy["HCO"[[1, 6, 8].index(z)]] for z in record(f).numbers) for f in formulas}
    elements = sorted(set("".join(formulas)) & set("HCO"))
    made = [record(f, e + noise * (-1) ** i * len(record(f).numbers)) for i, (f, e) in enumerate(sums.items())]
    return [of(modal, one) for one in [*made, *(atom(s, energy[s]) for s in elements)]]


def test_each_level_has_references_of_its_own():
    records = frames("PBE", ["CH4", "H2O", "CO2", "H2"], noise=0.1) + frames("R2SCAN", ["CH4", "CO2", "CO"], noise=0.3)
    s = statistics_of_modals(records, 2.0, BOTH)
    assert [level.modal for level in s.of_modals] == ["PBE", "R2SCAN"]
    isolated, shifts = reference_energies(s)
    np.testing.assert_allclose(isolated[0], list(E0.values()))
    np.testing.assert_allclose(isolated[1], [E0[x] + OFFSET[x] for x in "HCO"])
    assert np.shape(shifts) == (2, 3)
    assert (s.frames, s.isolated_frames, s.species) == (7, 6, (1, 6, 8))
    assert [level.frames for level in s.of_modals] == [4, 3]
    squares = [level.energy_rms_per_atom**2 * level.frames for level in s.of_modals]
    assert s.energy_rms_per_atom == pytest.approx(np.sqrt(sum(squares) / 7))
    assert Statistics.from_dict(json.loads(json.dumps(s.to_dict()))) == s
    text = "\n".join(summarize([], s, None))
    assert "PBE, 4 frames: E0 from isolated atoms:" in text
    assert f"{E0['C'] + OFFSET['C']:.4f} eV" in text


def test_one_level_without_a_name_is_as_before():
    from equinet.data import compute_statistics

    records = frames("PBE", ["CH4", "H2O", "H2"])
    s = compute_statistics(records, 2.0)
    assert s.of_modals == ()
    assert reference_energies(s) == (list(s.isolated_energies), list(s.shift))
    assert [Modals().index(one) for one in records] == [0] * len(records)


def test_an_element_that_a_level_lacks_borrows_and_says_so():
    s = statistics_of_modals(frames("PBE", ["CH4", "H2O", "CO"]) + frames("R2SCAN", ["CH4", "H2"]), 2.0, BOTH)
    with pytest.warns(DataWarning, match="no frame of R2SCAN has O; its E0 is taken from PBE"):
        isolated, _ = reference_energies(s)
    assert isolated[1][2] == E0["O"]
    assert isolated[1][1] == E0["C"] + OFFSET["C"]


def test_frames_must_say_their_level():
    good = frames("PBE", ["CH4"])
    for bad, words in (
        (record("H2", -30.0), "H2 of the tests: its info has no 'modal'; it must be one of PBE, R2SCAN"),
        (of("LDA", record("H2", -30.0)), "its modal is 'LDA'; it must be one of PBE, R2SCAN"),
    ):
        with pytest.raises(InputError, match=words):
            statistics_of_modals([*good, bad], 2.0, BOTH)
    with pytest.raises(InputError, match="no frame to train on has modal 'R2SCAN'"):
        statistics_of_modals(good, 2.0, BOTH)
    level = Modals(("1", "2"), key="level")
    assert level.index(type(good[0])(**{**vars(good[0]), "info": {"level": 2}})) == 1
