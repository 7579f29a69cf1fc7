"""Each kind of oddity is planted in clean data and must be found, and nothing else."""

import numpy as np
import pytest

from equinet.data.findings import examine
from equinet.data.store.checksums import verify_checksums
from equinet.errors import InputError
from tests.data.frames import record
from tests.data.store.conftest import files as files
from tests.data.store.conftest import store as store

ROW = np.arange(4)[:, None] * np.array([[1.5, 0.0, 0.0]])


def clean(count=40, formula="C2O2"):
    generator = np.random.default_rng(0)
    records = []
    for _ in range(count):
        forces = generator.normal(size=(4, 3))
        records.append(
            record(
                formula,
                -10.0 + 0.05 * generator.normal(),
                positions=ROW + 0.1 * generator.normal(size=(4, 3)),
                forces=forces - forces.mean(axis=0),
            )
        )
    return records


def found(records, **options):
    findings = examine(records, **options)
    return findings, {kind.name: kind.indices for kind in findings.kinds if kind.indices}


def test_clean_data(monkeypatch):
    monkeypatch.setattr("equinet.data.chunks.CHUNK", 7)
    findings, kinds = found(clean())
    assert (kinds, findings.duplicates) == ({}, [])
    assert findings.missing == {"energy": 0, "forces": 0, "stress": 0}
    alone = findings.to_dict()
    assert examine(clean(), workers=2).to_dict() == alone


def test_duplicates_are_found_through_rounding_and_their_labels_compared():
    records = clean()
    noise = 0.9e-4 * np.random.default_rng(1).uniform(-1, 1, size=(4, 3))
    nearly = record("C2O2", records[5].energy, positions=records[5].positions + noise)
    exactly = record("C2O2", records[7].energy + 1.0, positions=records[7].positions)
    third = record("C2O2", records[7].energy, positions=records[7].positions)
    further = record("C2O2", -10.0, positions=records[9].positions + 1.5e-4)
    other_order = record("O2C2", -10.0, positions=records[11].positions)
    findings, kinds = found([*records, nearly, exactly, third, further, other_order])
    assert findings.duplicates == [[5, 40], [7, 41, 42]]
    assert kinds["duplicates whose energies differ"] == [7]
    assert findings.kinds[0].values == [pytest.approx(0.25)]
    line = findings.lines(lambda i: f"#{i}")[1]
    assert line == "duplicates (same atoms, positions and cell to 0.0001 A): 3 in 2 groups, such as #5 = #40"


def test_many_copies_of_one_structure():
    records = clean(3) + 200 * [clean(1)[0]]
    findings, _ = found(records)
    assert findings.duplicates == [[0, *range(3, 203)]]


def test_forces():
    records = clean()
    records[3].forces[1] += [40.0, 0.0, 0.0]
    records[3].forces[2] -= [40.0, 0.0, 0.0]
    records[8].forces[0] += [0.0, 0.06, 0.0]
    records[9].forces[0] += [0.0, 0.02, 0.0]  # 0.005 eV/A per atom
    findings, kinds = found(records)
    assert kinds == {"large forces": [3], "net forces": [8]}
    assert findings.kinds[2].values == [pytest.approx(0.015)]


def test_energies_of_a_composition():
    records = clean() + [record("H4", -100.0, positions=ROW)]
    records.append(record("C2O2", -4.0, positions=ROW + 0.01))
    records.append(record("C2O2", -9.9, positions=ROW - 0.01))
    findings, kinds = found(records)
    assert kinds == {"energies far from others of their composition": [41]}
    assert findings.kinds[3].values == [pytest.approx(1.5, abs=0.02)]


def test_atoms_too_close():
    records = clean()
    records.append(record("CO", -1.0, positions=[[0, 0, 0], [0.6, 0, 0]]))
    records.append(record("CO", -1.0, positions=[[0, 0, 0], [0, 0, 0]]))
    records.append(record("CO", -1.0, positions=[[0, 0, 0], [0, 0.1, 1.2]], cell=np.eye(3) * 0.05, pbc=True))
    records.append(record("H2", -1.0, positions=[[0, 0, 0], [0.74, 0, 0]]))  # a bond
    findings, kinds = found(records)
    assert sorted(kinds["atoms too close"]) == [40, 41, 42]
    assert findings.kinds[4].values == [0.0, 0.0, pytest.approx(0.6)]


def test_missing_labels(store):
    findings = examine(store)
    columns = store.columns
    assert findings.missing["energy"] == (~columns.has_energy).sum() > 0
    assert findings.missing["forces"] == (~columns.has_forces).sum() > 0
    assert findings.missing["stress"] == sum(r.pbc.all() and r.virial is None for r in store) > 0


def test_wrong_checksums_are_named(store):
    verify_checksums(store)
    for number in (1, 3):
        shard = store.path / store.manifest.shards[number].file
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong checksum of shard-000001\.arrow, shard-000003\.arrow"):
        verify_checksums(store)
