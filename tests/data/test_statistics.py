"""E0s, shifts and rms values against numbers worked out by hand or put into the data."""

import json

import numpy as np
import pytest

from equinet.data import Statistics, compute_statistics, make_example
from equinet.errors import DataWarning, InputError
from tests.data.frames import atom, record

E0 = {"H": -13.6, "C": -1030.0, "O": -2040.0}
BINDING = {"H": -2.0, "C": -5.0, "O": -3.0}
FORMULAS = ["CH4", "H2O", "CO2", "C2H4", "CH4O", "H2"]


def energy(formula, *tables):
    numbers = record(formula).numbers
    symbols = {1: "H", 6: "C", 8: "O"}
    return sum(table[symbols[z]] for z in numbers for table in tables)


def molecules(*tables):
    return [record(formula, energy(formula, *tables)) for formula in FORMULAS]


def isolated(symbols="HCO"):
    return [atom(symbol, E0[symbol]) for symbol in symbols]


def test_isolated_atoms_give_e0_and_binding_gives_the_shift():
    s = compute_statistics([*molecules(E0, BINDING), *isolated()], 2.0)
    assert s.species == (1, 6, 8)
    assert s.isolated_energies == (-13.6, -1030.0, -2040.0)
    assert s.isolated_energies_source == "isolated atoms"
    assert s.from_isolated == (True, True, True)
    np.testing.assert_allclose(s.shift, list(BINDING.values()), rtol=1e-5)
    assert s.energy_rms_per_atom == pytest.approx(0.0, abs=1e-5)
    assert (s.frames, s.isolated_frames, s.rank) == (6, 3, None)


def test_regression_recovers_what_the_data_determine():
    s = compute_statistics(molecules(E0, BINDING), 2.0)
    expected = [E0[x] + BINDING[x] for x in "HCO"]
    np.testing.assert_allclose(s.isolated_energies, expected, rtol=1e-6)
    assert s.isolated_energies_source == "ridge regression"
    assert s.shift == (0.0, 0.0, 0.0)
    assert (s.rank, s.regressed_species, s.undetermined) == (3, 3, ())
    assert s.prior_source == "mean energy per atom of the data"


def test_single_composition_has_rank_one_and_keeps_to_the_prior():
    records = [record("CH4", -100.0 - i) for i in range(3)]
    s = compute_statistics(records, 2.0)
    assert (s.rank, s.regressed_species, s.undetermined) == (1, 2, (1, 6))
    np.testing.assert_allclose(s.isolated_energies, -101.0 / 5)
    assert s.energy_rms_per_atom == pytest.approx(np.sqrt(2 / 3) / 5)
    given = compute_statistics(records, 2.0, priors={"H": -1.0, "C": -97.0})
    np.testing.assert_allclose(given.isolated_energies, (-1.0, -97.0), atol=1e-6)
    assert given.prior_source == "given"
    assert given.priors == (-1.0, -97.0)


def test_an_undetermined_pair_beside_a_determined_element():
    """H2 fixes H; C and O occur in a fixed proportion only."""
    s = compute_statistics([record("H2", -30.0), record("CO", -3100.0), record("COH2", -3130.0)], 2.0)
    assert s.isolated_energies[0] == pytest.approx(-15.0, abs=1e-4)
    assert s.isolated_energies[1] + s.isolated_energies[2] == pytest.approx(-3100.0, abs=1e-4)
    assert (s.rank, s.undetermined) == (2, (6, 8))


def test_given_priors_cannot_bend_what_is_determined():
    s = compute_statistics(molecules(E0), 2.0, priors={"H": 0.0, "C": 0.0, "O": 0.0})
    np.testing.assert_allclose(s.isolated_energies, list(E0.values()), rtol=1e-6)


def test_isolated_atoms_of_some_species_only():
    with pytest.warns(DataWarning, match="isolated-atom frames for H C only: the E0s of O are regressed"):
        s = compute_statistics([*molecules(E0), *isolated("HC")], 2.0)
    np.testing.assert_allclose(s.isolated_energies, list(E0.values()), rtol=1e-6)
    assert s.from_isolated == (True, True, False)
    assert s.isolated_energies_source == "isolated atoms and ridge regression"
    assert s.shift == (0.0, 0.0, 0.0)
    assert (s.rank, s.regressed_species) == (1, 1)
    assert s.priors[:2] == (None, None)


def test_isolated_atoms_of_elements_not_trained_on_add_no_species():
    s = compute_statistics([record("H2", -31.0), *isolated("HC")], 2.0)
    assert s.species == (1,)


def test_isolated_atoms_that_disagree():
    again = atom("H", -13.7, source="other.extxyz frame 3")
    with pytest.raises(InputError, match=r"of H disagree: -13.7 eV in other.extxyz frame 3, -13.6 eV in"):
        compute_statistics([record("H2", -31.0), *isolated("H"), again], 2.0)
    close = compute_statistics([record("H2", -31.0), *isolated("H"), atom("H", -13.6004)], 2.0)
    assert close.isolated_energies[0] == pytest.approx(-13.6002)


def test_e0s_that_cannot_be_determined():
    bare = [record("H2", forces=np.ones((2, 3)))]
    with pytest.raises(InputError, match="the E0s of H cannot be determined"):
        compute_statistics(bare, 2.0)
    with pytest.raises(InputError, match="the E0s of O cannot be determined"):
        compute_statistics([record("H2", -31.0), record("O2", forces=np.ones((2, 3)))], 2.0)
    s = compute_statistics([*bare, *isolated("H")], 2.0)
    assert s.isolated_energies == (-13.6,)
    assert s.energy_rms_per_atom is None
    assert s.force_rms == 1.0


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="nothing to train on: 1 frames of isolated atoms"):
        compute_statistics(isolated("H"), 2.0)


def test_unknown_element_in_priors():
    with pytest.raises(InputError, match="priors name 'Hx'"):
        compute_statistics(molecules(E0), 2.0, priors={"Hx": 0.0})


def test_rms_of_labels():
    cell = {"cell": 4.0 * np.eye(3), "pbc": np.ones(3, dtype=bool)}
    stress = np.array([[0.1, 0.2, 0.0], [0.2, 0.3, 0.0], [0.0, 0.0, 0.0]])
    records = [
        record("H2", -31.0, forces=np.full((2, 3), 3.0)),
        record("H2", -33.0, virial=2.0 * np.eye(3)),
        record("H2", -32.0, virial=-64.0 * stress, forces=np.full((2, 3), -4.0), **cell),
    ]
    s = compute_statistics(records, 1.6)
    assert s.energy_rms_per_atom == pytest.approx(np.sqrt(2 / 3) / 2)
    assert s.force_rms == pytest.approx(np.sqrt(12.5))
    assert s.stress_rms == pytest.approx(np.sqrt((0.01 + 0.09 + 2 * 0.04) / 9))
    assert s.virial_rms_per_atom == pytest.approx(np.sqrt((3 * 1.0 + 0.18 * 32.0**2) / 18))
    assert (s.frames_with_energy, s.frames_with_forces) == (3, 2)
    assert (s.frames_with_stress, s.frames_with_virial) == (1, 2)


def test_neighbors():
    records = [record("H4", -1.0), record("H2", -1.0)]
    s = compute_statistics(records, 1.6)
    assert s.mean_neighbors == pytest.approx((1 + 2 + 2 + 1 + 1 + 1) / 6)
    assert (s.min_neighbors, s.frames_without_edges, s.atoms, s.cutoff) == (1, 0, 6, 1.6)
    edges = sum(len(make_example(r, 4.0).graph.senders) for r in records)
    assert compute_statistics(records, 4.0).mean_neighbors == pytest.approx(edges / 6)


def test_frames_without_edges_are_counted():
    apart = record("H2", -27.2, positions=[[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    with pytest.warns(DataWarning, match=r"1 of 2 frames have no edge at a cutoff of 2\.0 A"):
        s = compute_statistics([record("H2", -31.0), apart], 2.0)
    assert (s.frames_without_edges, s.min_neighbors) == (1, 0)


def test_a_cutoff_that_yields_no_edges():
    with pytest.raises(InputError, match=r"no edge in any of 6 frames at a cutoff of 1\.0 A"):
        compute_statistics(molecules(E0), 1.0)


def test_statistics_survive_json():
    s = compute_statistics([*molecules(E0, BINDING), *isolated()], 2.0)
    assert Statistics.from_dict(json.loads(json.dumps(s.to_dict()))) == s
    with pytest.raises(TypeError):
        Statistics.from_dict({"species": [1]})


def test_real_sets(shared_data):
    from equinet.data import read_records

    atoms = read_records(shared_data / "3bpa" / "isolated_atoms.extxyz")
    frames = read_records(shared_data / "3bpa" / "train_300K.extxyz", index=":20")
    s = compute_statistics([*frames, *atoms], 5.0)
    assert s.isolated_energies_source == "isolated atoms"
    assert s.isolated_energies[0] == pytest.approx(-13.587, abs=1e-3)
    assert s.isolated_energies[3] == pytest.approx(-2041.98, abs=1e-2)
    assert max(s.shift) < 0.0
    assert s.energy_rms_per_atom < 0.02


def test_frames_of_each_element_and_the_shortest_distance():
    frames = molecules(E0, BINDING)
    s = compute_statistics([*frames, *isolated()], 2.0)
    assert s.frames_per_species == (5, 4, 3)  # H, C, O in CH4 H2O CO2 C2H4 CH4O H2
    pairs = [frame.positions[:, None] - frame.positions for frame in frames]
    lengths = np.concatenate([np.linalg.norm(d, axis=2)[np.triu_indices(len(d), 1)] for d in pairs])
    assert s.shortest_distance == pytest.approx(lengths.min(), abs=1e-12)
    old = s.to_dict()
    del old["frames_per_species"], old["shortest_distance"]  # as an older version wrote it
    assert Statistics.from_dict(old).shortest_distance is None
