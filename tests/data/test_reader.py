"""Reading labels: which keys, which units, which frames; what is chosen is reported, what is odd is counted."""

import gzip

import ase.db
import ase.io
import numpy as np
import pytest

from equinet.data import LabelKeys, build_store, read_atoms, read_records
from equinet.errors import DataWarning, InputError
from tests.data.frames import forces_of, silicon, slab, water, written

VOIGT = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])  # xx yy zz yz xz xy
FULL = np.array([[0.01, 0.006, 0.005], [0.006, 0.02, 0.004], [0.005, 0.004, 0.03]])


def test_calculator_results_of_extxyz(tmp_path):
    atoms = silicon(energy=-40.0, forces=forces_of(silicon()), stress=VOIGT)
    atoms.info["group"] = "bulk"
    records = read_records(written(tmp_path, [atoms, atoms]))
    assert len(records) == 2
    record = records[1]
    assert record.energy == -40.0
    np.testing.assert_allclose(record.forces, forces_of(silicon()), atol=1e-7)
    np.testing.assert_allclose(record.virial, -atoms.get_volume() * FULL, rtol=1e-7)
    np.testing.assert_allclose(record.stress, FULL, rtol=1e-7)
    assert record.info == {"group": "bulk"}
    assert record.source == f"{tmp_path / 'frames.extxyz'} frame 1"
    assert records.report.keys == LabelKeys("energy", "forces", "stress", None)
    assert (records.report.frames_with_energy, records.report.frames_with_virial) == (2, 2)
    np.testing.assert_array_equal(record.pbc, True)


@pytest.mark.parametrize("name", ["frames.traj", "frames.json", "frames.extxyz.gz", "frames.xyz", "frames.db"])
def test_formats(tmp_path, name):
    atoms = water(energy=-14.0, forces=forces_of(water()))
    (record,) = read_records(written(tmp_path, [atoms], name))
    assert record.energy == -14.0
    np.testing.assert_allclose(record.forces, forces_of(water()), atol=1e-7)


def test_database_with_data_beside_the_calculator(tmp_path):
    with ase.db.connect(tmp_path / "rows.db") as database:
        for energy in (-1.0, -2.0):
            database.write(water(), origin="md", data={"energy": energy, "forces": forces_of(water())})
    records = read_records(tmp_path / "rows.db")
    assert [record.energy for record in records] == [-1.0, -2.0]
    assert records[0].info["origin"] == "md"
    np.testing.assert_allclose(records[0].forces, forces_of(water()))


def test_database_in_foreign_units(tmp_path):
    with ase.db.connect(tmp_path / "rows.db") as database:
        database.metadata = {"_property_unit_dict": {"energy": "Hartree", "forces": "eV/Ang"}}
        database.write(water(), data={"energy": -76.0})
    with pytest.raises(InputError, match="energy in Hartree"):
        read_records(tmp_path / "rows.db")


def schnetpack(path, energy="eV", forces="eV/Ang", length="Ang"):
    """A database of SchNetPack, whose metadata say what it is in; labels under names of its own."""
    with ase.db.connect(path) as database:
        units = {"U0": energy, "F": forces, "dipole_moment": "Debye"}
        database.metadata = {"_property_unit_dict": units, "_distance_unit": length}
        database.write(water(), data={"U0": np.array([-76.0]), "F": forces_of(water()), "dipole_moment": np.ones(3)})
    return path


@pytest.mark.parametrize(
    ("units", "says"),
    [
        ({"energy": "Hartree"}, "rows.db: its metadata say U0 in Hartree, which is read as energy; convert to eV"),
        ({"energy": "kcal/mol"}, "U0 in kcal/mol"),
        ({"forces": "Hartree/Bohr"}, "F in Hartree/Bohr, which is read as forces"),
        ({"length": "Bohr"}, "its metadata say lengths in Bohr; convert the file to Angstrom"),
    ],
)
def test_database_in_foreign_units_under_any_name(tmp_path, units, says):
    path, keys = schnetpack(tmp_path / "rows.db", **units), LabelKeys(energy="U0", forces="F")
    with pytest.raises(InputError, match=says):
        read_records(path, keys)
    with pytest.raises(InputError, match=says):
        build_store([path], tmp_path / "STORE", keys)


@pytest.mark.parametrize("units", [("eV", "eV/Ang", "Ang"), (" ev ", "eV / Angstrom", "Å"), (None, 1.0, None)])
def test_database_in_our_units_however_spelt(tmp_path, units):
    (record,) = read_records(schnetpack(tmp_path / "rows.db", *units), LabelKeys(energy="U0", forces="F"))
    assert record.energy == -76.0
    np.testing.assert_array_equal(record.forces, forces_of(water()))


def test_units_of_what_is_no_label_do_not_matter(tmp_path):
    (record,) = read_records(schnetpack(tmp_path / "rows.db", energy="Hartree"), LabelKeys(forces="F"))
    assert record.energy is None


def test_forces_of_constrained_structures_are_not_zeroed(tmp_path):
    from ase.constraints import FixAtoms

    atoms = water(energy=0.0, forces=np.ones((3, 3)))
    atoms.set_constraint(FixAtoms([0, 1]))
    (record,) = read_records(written(tmp_path, [atoms], "frames.traj"))
    np.testing.assert_array_equal(record.forces, 1.0)


@pytest.mark.parametrize("prefix", ["REF_", "ref_", "dft_", "DFT_", "QM_"])
def test_common_names(tmp_path, prefix):
    atoms = silicon()
    atoms.info[prefix + "energy"] = -40.0
    atoms.info[prefix + "stress"] = VOIGT
    atoms.arrays[prefix + "forces"] = forces_of(atoms)
    records = read_records(written(tmp_path, [atoms]))
    assert records[0].energy == -40.0
    np.testing.assert_allclose(records[0].stress, FULL, rtol=1e-7)
    assert records.report.keys == LabelKeys(prefix + "energy", prefix + "forces", prefix + "stress")
    assert records[0].info == {}


def test_named_keys(tmp_path):
    atoms = silicon(energy=-1.0)
    atoms.info["ccsd"] = -40.0
    atoms.arrays["gradient"] = forces_of(atoms)
    records = read_records(written(tmp_path, [atoms]), LabelKeys(energy="ccsd", forces="gradient"))
    assert records[0].energy == -40.0
    assert records[0].energy_key == "ccsd"
    assert records.report.frames_with_forces == 1


def test_a_label_can_be_switched_off(tmp_path):
    path = written(tmp_path, [silicon(energy=-1.0, stress=VOIGT)])
    assert read_records(path, LabelKeys(stress="none"))[0].virial is None


@pytest.mark.parametrize("value", [VOIGT, FULL.ravel(), FULL])
def test_shapes_of_stress(tmp_path, value):
    atoms = silicon(energy=-1.0)
    atoms.info["tension"] = value
    (record,) = read_records(written(tmp_path, [atoms]), LabelKeys(stress="tension"))
    np.testing.assert_allclose(record.stress, FULL, rtol=1e-12)


def test_virial_of_a_slab_is_read_and_its_stress_is_not(tmp_path):
    atoms = slab(energy=-9.0, stress=VOIGT)
    path = written(tmp_path, [atoms, atoms])
    with pytest.warns(DataWarning, match="stress label of 2 frames is ignored.*padding"):
        records = read_records(path)
    assert records[0].virial is None
    assert records.report.stress_ignored == 2
    atoms = slab(energy=-9.0)
    atoms.info["virial"] = FULL
    (record,) = read_records(written(tmp_path, [atoms]))
    np.testing.assert_allclose(record.virial, FULL)
    assert record.stress is None
    assert record.volume is None


def test_virial_beside_stress_must_agree(tmp_path):
    atoms = silicon(energy=-9.0, stress=VOIGT)
    atoms.info["virial"] = -atoms.get_volume() * FULL
    (record,) = read_records(written(tmp_path, [atoms]))
    np.testing.assert_allclose(record.stress, FULL)
    atoms.info["virial"] = atoms.get_volume() * FULL
    path = written(tmp_path, [atoms])
    with pytest.raises(InputError, match=r"frame 0: virial 'virial' and stress 'stress' disagree"):
        read_records(path)
    np.testing.assert_allclose(read_records(path, LabelKeys(virial="none"))[0].stress, FULL)


def test_free_energy_is_preferred_and_differences_are_counted(tmp_path):
    frames = [water(energy=-1.0, free_energy=-1.0 - gap) for gap in (0.0, 0.002, 0.004, 0.1)]
    path = written(tmp_path, frames, "frames.traj")
    with pytest.warns(DataWarning, match="differ by more than 1 meV/atom in 2 frames; free_energy is used"):
        records = read_records(path)
    assert [record.energy for record in records] == [-1.0, -1.002, -1.004, -1.1]
    assert records.report.keys.energy == "free_energy"
    assert records.report.free_energy_differs == 2
    assert read_records(path, LabelKeys(energy="energy"))[3].energy == -1.0


def test_free_energy_beside_equal_plain_energies(tmp_path):
    frames = [water(energy=-1.0, free_energy=-1.0), water(energy=-2.0)]
    records = read_records(written(tmp_path, frames, "frames.traj"))
    assert [record.energy for record in records] == [-1.0, -2.0]
    assert records.report.keys.energy == "free_energy, else energy"
    frames[0].calc.results["free_energy"] = -1.1
    with pytest.raises(InputError, match="mixed energy keys: 1 frames have 'energy' only"):
        read_records(written(tmp_path, frames, "frames.traj"))


def test_labels_are_optional_per_frame(tmp_path):
    frames = [water(energy=-1.0), water(forces=forces_of(water())), water(), water(energy=-4.0)]
    with pytest.warns(DataWarning, match="1 of 4 frames carry no label"):
        records = read_records(written(tmp_path, frames))
    assert [record.energy for record in records] == [-1.0, None, -4.0]
    assert [record.forces is not None for record in records] == [False, True, False]
    assert records[2].source.endswith("frame 3")
    assert records.report.unlabelled == 1


def test_index_keeps_the_numbers_of_frames(tmp_path):
    path = written(tmp_path, [water(energy=-float(i)) for i in range(10)])
    records = read_records(path, index="-6::3")
    assert [record.energy for record in records] == [-4.0, -7.0]
    assert [record.source for record in records] == [f"{path} frame 4", f"{path} frame 7"]
    assert read_records(path, index=-1)[0].source.endswith("frame 9")
    assert [number for number, _ in read_atoms(path, "2:4")] == [2, 3]


def test_at_sign_in_a_file_name(tmp_path):
    assert len(read_records(written(tmp_path, [water(energy=-1.0)] * 2, "run@300K.extxyz"))) == 2


def test_many_compressed_frames_are_read_in_one_pass(tmp_path, monkeypatch):
    path = written(tmp_path, [water(energy=-float(i)) for i in range(50)], "frames.extxyz.gz")
    rewinds = []
    rewind = gzip._GzipReader._rewind
    monkeypatch.setattr(gzip._GzipReader, "_rewind", lambda self: (rewinds.append(1), rewind(self))[1])
    assert len(read_records(path)) == 50
    assert not rewinds


def test_reference_beside_another_calculation(tmp_path):
    frames = []
    for energy in (-1.0, -2.0):
        atoms = water(energy=energy)
        atoms.info["REF_energy"] = -1.0
        frames.append(atoms)
    with pytest.warns(DataWarning, match="1 frames have another energy under 'REF_energy' than under 'energy'"):
        records = read_records(written(tmp_path, frames))
    assert records[1].energy == -2.0
