"""Formats that ASE does not read, and what ASE reads frame by frame: numbers worked out by hand, units and signs."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase.units import Bohr, Hartree

from equinet.data import build_store, read_records
from equinet.data.files import iterate_atoms
from equinet.data.formats import FormatOptions, detect_format
from equinet.data.labels import LabelReader
from equinet.errors import InputError
from tests.data.frames import forces_of, silicon, water, written

VIRIAL = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]])


def records_of(path, **options):
    reader = LabelReader(str(path))
    records = []
    for frame, atoms in iterate_atoms(path, FormatOptions(**options)):
        reader.observe(atoms)
        records.append(reader.read(atoms, f"{path} frame {frame}"))
    reader.finish()
    return records


@pytest.mark.parametrize("name", ["a.extxyz", "a.extxyz.gz", "a.traj", "a.db", "a.json"])
@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_from_any_frame_on(tmp_path, name, start):
    path = written(tmp_path, [water(energy=-float(i)) for i in range(5)], name)
    found = list(iterate_atoms(path, start=start))
    assert [number for number, _ in found] == list(range(start, 5))
    assert [atoms.get_potential_energy() for _, atoms in found] == [-float(i) for i in range(start, 5)]


def deepmd(folder, frames, **changes):
    generator = np.random.default_rng(0)
    arrays = {
        "coord": generator.normal(size=(frames, 9)),
        "box": np.tile((5 * np.eye(3)).ravel(), (frames, 1)),
        "energy": np.arange(frames) - 10.0,
        "force": generator.normal(size=(frames, 9)),
        "virial": np.tile(VIRIAL.ravel(), (frames, 1)),
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "type.raw").write_text("1\n0\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    for first in range(0, frames, 2):
        part = folder / f"set.{first // 2:03d}"
        part.mkdir()
        for name, values in arrays.items():
            if values is not None:
                np.save(part / f"{name}.npy", values[first : first + 2])
    return arrays


def test_deepmd(tmp_path):
    arrays = deepmd(tmp_path / "system", 5)
    records = read_records(tmp_path / "system")
    assert [r.energy for r in records] == [-10.0, -9.0, -8.0, -7.0, -6.0]
    record = records[3]
    assert record.numbers.tolist() == [1, 8, 1]
    np.testing.assert_array_equal(record.positions, arrays["coord"][3].reshape(3, 3))
    np.testing.assert_array_equal(record.forces, arrays["force"][3].reshape(3, 3))
    np.testing.assert_array_equal(record.virial, VIRIAL)  # -dE/dstrain, as ours
    assert record.pbc.all()
    assert [number for number, _ in iterate_atoms(tmp_path / "system", start=3)] == [3, 4]


def test_deepmd_molecules_and_mixed_types(tmp_path):
    types = np.array([[0, 1, 1], [1, 0, -1]])
    deepmd(tmp_path / "a" / "system", 2, box=None, virial=None, energy=np.ones((2, 1)), real_atom_types=types)
    (tmp_path / "a" / "system" / "nopbc").touch()
    deepmd(tmp_path / "a" / "deeper" / "other", 3)
    first, second = read_records(tmp_path / "a" / "system")
    assert (first.numbers.tolist(), second.numbers.tolist()) == ([8, 1, 1], [1, 8])
    assert not first.pbc.any()
    assert first.virial is None
    with pytest.raises(InputError, match=r"a folder of 2 DeePMD-kit systems \(deeper/other, system\); give one"):
        read_records(tmp_path / "a")
    built = build_store([tmp_path / "a"], tmp_path / "STORE")
    assert [(b.report.frames, b.format) for b in built] == [(3, "DeePMD-kit npy"), (2, "DeePMD-kit npy")]


def test_deepmd_without_names_of_its_types(tmp_path):
    deepmd(tmp_path / "system", 1)
    (tmp_path / "system" / "type_map.raw").unlink()
    with pytest.raises(
        InputError, match=r"no type_map\.raw says which elements its types are; name those .* --elements Si C"
    ):
        read_records(tmp_path / "system")
    assert records_of(tmp_path / "system", elements=("Si", "C"))[0].numbers.tolist() == [6, 14, 6]
    with pytest.raises(InputError, match="atom type 1, but only 1 elements are named"):
        records_of(tmp_path / "system", elements=("Si",))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"force": np.zeros((2, 6))}, r"force\.npy: \(6,\) numbers in each frame do not fit \[3, 3\]"),
        ({"energy": np.zeros(1)}, r"energy\.npy: 1 frames, but coord\.npy has 2"),
        ({"box": None}, "neither box.npy nor a file nopbc"),
    ],
)
def test_deepmd_that_does_not_fit(tmp_path, changes, says):
    deepmd(tmp_path / "system", 2, **changes)
    with pytest.raises(InputError, match=says):
        read_records(tmp_path / "system")


N2P2 = """begin
comment run 7
lattice 10.0 0.0 0.0
lattice 0.0 11.0 0.0
lattice 0.0 0.0 12.0
atom 1.0 2.0 3.0 O 0.1 0.0 0.01 0.02 0.03
atom 4.0 5.0 6.0 H -0.1 0.0 -0.01 -0.02 -0.03
energy -2.0
charge 0.0
end
begin
atom 0.0 0.0 0.0 H 0.0 0.0 0.0 0.0 0.5
energy -0.5
charge 0.0
end
"""


def test_n2p2(tmp_path):
    path = tmp_path / "input.data"
    path.write_text("# made by hand\n\n" + N2P2)
    first, second = read_records(path)
    assert read_records(path).report.units == "Hartree, Bohr; converted to eV, Angstrom"
    assert first.energy == pytest.approx(-2.0 * Hartree, rel=1e-12)
    np.testing.assert_allclose(first.cell, np.diag([10.0, 11.0, 12.0]) * Bohr, rtol=1e-12)
    np.testing.assert_allclose(first.positions[1], np.array([4.0, 5.0, 6.0]) * Bohr, rtol=1e-12)
    np.testing.assert_allclose(first.forces[0], np.array([0.01, 0.02, 0.03]) * Hartree / Bohr, rtol=1e-12)
    assert first.numbers.tolist() == [8, 1]
    assert first.info == {"charge": 0.0, "comment": "run 7"}
    assert (first.pbc.all(), second.pbc.any(), second.virial) == (True, False, None)
    assert records_of(path, n2p2_units="metal")[0].energy == -2.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("end\nbegin", "begin"), "line 10: a block begins before the last one has its 'end'"),
        (("charge 0.0\nend\n", "charge 0.0\n"), "line 10: a block begins"),
        (("-0.5\ncharge 0.0\nend\n", "-0.5\n"), "the last block has no 'end'"),
        (("begin\natom 0", "atom 0"), "stands outside a block"),
        (("lattice 0.0 0.0 12.0\n", ""), "frame 0: not a block of n2p2 .2 lattice vectors"),
        ((" 0.02 ", " 0.0x "), "frame 0: not a block of n2p2 .could not convert"),
    ],
)
def test_n2p2_that_cannot_be(tmp_path, change, says):
    path = tmp_path / "input.data"
    path.write_text(N2P2.replace(*change))
    with pytest.raises(InputError, match=says):
        read_records(path)


MTP = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.0 5.0 0.0
    0.0 0.0 6.0
 AtomData:  id type       cartes_x      cartes_y    cartes_z           fx          fy          fz
             1    0       0.0  0.0  0.0   0.1  0.2  0.3
             2    1       1.0  1.5  2.0  -0.1 -0.2 -0.3
 Energy
     -17.25
 PlusStress:  xx          yy          zz          yz          xz          xy
     1.0  2.0  3.0  0.4  0.5  0.6
 Feature   EFS_by       VASP
END_CFG

BEGIN_CFG
 Size
    1
 Supercell
    4.0 0.0 0.0
    0.0 5.0 0.0
 AtomData:  id type  direct_x direct_y direct_z
             1    H       0.5  0.5  0.0
 Energy
     -1.0
END_CFG
"""


def test_mtp(tmp_path):
    path = tmp_path / "train.cfg"
    path.write_text(MTP)
    first, second = records_of(path, elements=("Si", "C"))
    assert first.energy == -17.25
    assert first.numbers.tolist() == [14, 6]
    np.testing.assert_array_equal(first.forces[1], [-0.1, -0.2, -0.3])
    np.testing.assert_array_equal(first.virial, VIRIAL)
    np.testing.assert_allclose(first.stress, -VIRIAL / 120.0)
    assert first.info == {"EFS_by": "VASP"}
    assert second.numbers.tolist() == [1]
    np.testing.assert_array_equal(second.pbc, [True, True, False])
    np.testing.assert_array_equal(second.positions, [[2.0, 2.5, 0.0]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("2    1 ", "2    7 "),
            "frame 0: atom type 7 has no element; name those of types 0, 1, ... in 'equinet data build",
        ),
        (("PlusStress:", "Stress:"), "frame 0: Stress: has no sign that is agreed on"),
        (("    2\n Super", "    3\n Super"), "frame 0: not an MTP configuration"),
        (("END_CFG\n\nBEGIN_CFG", "BEGIN_CFG"), "a configuration begins before the last one has its END_CFG"),
        (("     -1.0\nEND_CFG", "     -1.0"), "the last configuration has no END_CFG"),
    ],
)
def test_mtp_that_cannot_be(tmp_path, change, says):
    path = tmp_path / "train.cfg"
    path.write_text(MTP.replace(*change))
    with pytest.raises(InputError, match=says):
        records_of(path, elements=("Si", "C"))


def test_fairchem_lmdb(tmp_path):
    pytest.importorskip("ase_db_backends", reason="ase-db-backends is not installed (extra lmdb)")
    path = tmp_path / "data.aselmdb"
    stress = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])
    frames = [silicon(energy=-40.0 - i, forces=forces_of(silicon(), i), stress=stress) for i in range(4)]
    with ase.db.connect(path, type="aselmdb") as database:
        for number, atoms in enumerate(frames):
            database.write(atoms, data={"sid": f"s{number}"})
    records = read_records(path)
    assert [r.energy for r in records] == [-40.0, -41.0, -42.0, -43.0]
    np.testing.assert_allclose(records[2].forces, forces_of(silicon(), 2), rtol=1e-12)
    volume = silicon().cell.volume
    np.testing.assert_allclose(records[2].virial[0], -volume * np.array([0.01, 0.006, 0.005]), rtol=1e-12)
    assert records[3].info == {"sid": "s3"}
    assert [number for number, _ in iterate_atoms(path, start=3)] == [3]
    assert build_store([tmp_path], tmp_path / "STORE")[0].format == "ASE database in LMDB"


def test_fairchem_lmdb_without_its_reader(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ase_db_backends", None)
    (tmp_path / "data.aselmdb").write_text("x")
    with pytest.raises(InputError, match=r"needs the package ase-db-backends; pip install 'equinet-mlip\[lmdb\]'"):
        read_records(tmp_path / "data.aselmdb")


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <atominfo>
  <atoms>1</atoms>
  <array name="atoms"><set><rc><c>Si</c><c>1</c></rc></set></array>
 </atominfo>
 <kpoints>
  <varray name="kpointlist"><v>0.0 0.0 0.0</v></varray><varray name="weights"><v>1.0</v></varray>
 </kpoints>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>4.0 0.0 0.0</v><v>0.0 4.0 0.0</v><v>0.0 0.0 4.0</v></varray></crystal>
  <varray name="positions"><v>0.0 0.0 0.0</v></varray>
 </structure>
 <calculation>
  <scstep><energy>
   <i name="e_fr_energy">-5.5</i><i name="e_wo_entrp">-5.3</i><i name="e_0_energy">-5.4</i>
  </energy></scstep>
  <structure>
   <crystal><varray name="basis"><v>4.0 0.0 0.0</v><v>0.0 4.0 0.0</v><v>0.0 0.0 4.0</v></varray></crystal>
   <varray name="positions"><v>0.25 0.0 0.0</v></varray>
  </structure>
  <varray name="forces"><v>0.1 0.2 0.3</v></varray>
  <varray name="stress"><v>10.0 1.0 2.0</v><v>1.0 20.0 3.0</v><v>2.0 3.0 30.0</v></varray>
  <energy>
   <i name="e_fr_energy">-5.5</i><i name="e_wo_entrp">-5.3</i><i name="e_0_energy">-5.4</i>
  </energy>
 </calculation>
</modeling>
"""


def test_vasprun(tmp_path):
    path = tmp_path / "vasprun.xml"
    path.write_text(VASPRUN)
    with pytest.warns(match="energy and free_energy differ"):
        (record,) = read_records(path)
    assert record.energy == -5.5  # the free energy, which the forces belong to
    np.testing.assert_array_equal(record.forces, [[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(record.positions, [[1.0, 0.0, 0.0]])
    assert detect_format(path, FormatOptions()).name == "vasp-xml by ASE"
    kilobar = 0.1 / 160.21766339999996  # eV/A^3; VASP's sign is that of a pressure
    np.testing.assert_allclose(record.stress[0], -kilobar * np.array([10.0, 1.0, 2.0]), rtol=1e-6)
