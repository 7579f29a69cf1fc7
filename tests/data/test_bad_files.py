"""Every mistake in a file is one line that names the file, the frame and the key."""

import gzip

import numpy as np
import pytest

from equinet.data import LabelKeys, make_example, read_records
from equinet.errors import InputError
from tests.data.frames import forces_of, silicon, water, written

HEADER = "Properties=species:S:1:pos:R:3:forces:R:3"
ONE = f"1\n{HEADER} energy=-1.0\nH 0 0 0 0 0 0\n"


def refused(path, keys=None, index=":"):
    with pytest.raises(InputError) as caught:
        read_records(path, keys, index)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def text(tmp_path, content, name="frames.extxyz"):
    path = tmp_path / name
    path.write_text(content)
    return path


def test_no_such_file(tmp_path):
    assert "no such file" in refused(tmp_path / "none.extxyz")


@pytest.mark.parametrize("content", ["", "\n", "\n\n\n"])
def test_empty_file(tmp_path, content):
    message = refused(text(tmp_path, content))
    assert "empty" in message or "no structures" in message


@pytest.mark.parametrize("cut", ["2\nPropert", "2\n", ONE + "2\n", ONE + ONE[:-4], ONE + ONE[:30]])
def test_truncated_file(tmp_path, cut):
    assert "cannot be read" in refused(text(tmp_path, cut))


def test_truncated_gzip(tmp_path):
    whole = gzip.compress("".join(ONE.replace("-1.0", f"-{i}.{i}") for i in range(500)).encode())
    path = tmp_path / "frames.extxyz.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize("name", ["foreign.extxyz", "foreign.db", "foreign.traj", "foreign.dat", "foreign.zip"])
def test_foreign_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 40)
    assert "cannot be read" in refused(path)


def test_blank_line_between_frames_would_hide_the_rest(tmp_path):
    assert "blank line follows frame 1" in refused(text(tmp_path, ONE + ONE + "\n" + ONE))
    assert len(read_records(text(tmp_path, ONE + ONE + "\n\n"))) == 2


def test_unknown_element(tmp_path):
    assert "Qq" in refused(text(tmp_path, ONE.replace("H 0", "Qq 0")))
    assert "frame 1: atom 0 has no element" in refused(text(tmp_path, ONE + ONE.replace("H 0", "X 0")))


@pytest.mark.parametrize("lattice", ["0 0 0 0 0 0 0 0 0", "1 0 0 2 0 0 0 0 1"])
def test_periodic_cell_without_volume(tmp_path, lattice):
    frame = ONE.replace("Prop", f'Lattice="{lattice}" pbc="T T T" Prop')
    assert "frame 1: periodic in three directions, but the cell has no volume" in refused(text(tmp_path, ONE + frame))


def test_cell_that_is_not_finite(tmp_path):
    frame = ONE.replace("Prop", 'Lattice="nan 0 0 0 1 0 0 0 1" Prop')
    assert "frame 0: the cell is not finite" in refused(text(tmp_path, frame))


@pytest.mark.parametrize(("index", "says"), [("7", "no frame '7' among its 2"), ("5:", "selects none of its 2")])
def test_no_such_frame(tmp_path, index, says):
    assert says in refused(text(tmp_path, ONE + ONE), index=index)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ONE + ONE.replace("-1.0", "nan"), "frame 1: 'energy' has values that are not finite"),
        (ONE + ONE.replace(" 0\n", " inf\n"), "frame 1: 'forces' has values that are not finite"),
        (ONE + ONE.replace("H 0", "H nan"), "frame 1: the position of atom 0 is not finite"),
        (ONE + ONE.replace("-1.0", "minus"), "frame 1: 'energy' is not a number but 'minus'"),
        (ONE.replace("R:3 energy", "R:2 energy"), "frame 0: 'forces' must have the shape [1, 3], not [1, 2]"),
        (ONE.replace("-1.0", '"1 2 3 4"'), "frame 0: 'energy' must be one number"),
    ],
)
def test_bad_numbers(tmp_path, content, says):
    assert says in refused(text(tmp_path, content))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.ones(5), "must have 6 (Voigt), 9 or 3 x 3 components, not the shape [5]"),
        (np.arange(9.0), "'tension' is not symmetric"),
        (np.full(6, np.nan), "'tension' has values that are not finite"),
    ],
)
def test_bad_stress(tmp_path, value, says):
    atoms = silicon(energy=-1.0)
    atoms.info["tension"] = value
    assert says in refused(written(tmp_path, [atoms]), LabelKeys(stress="tension"))


def test_mixed_keys(tmp_path):
    first, second = water(energy=-1.0), water()
    second.info["REF_energy"] = -2.0
    message = refused(written(tmp_path, [first, second, second]))
    assert "mixed energy keys: 1 of 3 frames have 'energy', 2 others only 'REF_energy'" in message
    assert "--data.keys.energy (equinet train) or --keys.energy (equinet test, data build)" in message


def test_mixed_force_keys(tmp_path):
    first, second = water(energy=-1.0, forces=forces_of(water())), water(energy=-1.0)
    second.arrays["dft_force"] = forces_of(water())
    assert "1 of 2 frames have 'forces', 1 others only 'dft_force'" in refused(written(tmp_path, [first, second]))


@pytest.mark.parametrize("keys", [None, LabelKeys(forces="REF_forces")])
def test_energy_and_forces_of_two_calculations(tmp_path, keys):
    atoms = water(energy=-1.0)
    atoms.info["REF_energy"] = -1.0
    atoms.arrays["REF_forces"] = forces_of(atoms)
    path = written(tmp_path, [atoms])
    assert "the energy would come from 'energy', forces from 'REF_forces'" in refused(path, keys)
    assert read_records(path, LabelKeys(energy="REF_energy", forces="REF_forces"))[0].forces is not None


def test_named_key_that_no_frame_has(tmp_path):
    atoms = water(energy=-1.0)
    atoms.info["REF_energy"] = -2.0
    message = refused(written(tmp_path, [atoms]), LabelKeys(energy="REF_enrgy"))
    assert "no frame has the key 'REF_enrgy' given for the energy; did you mean 'REF_energy'?" in message
    assert "keys in the file: REF_energy, energy" in message


def test_no_label_in_any_frame(tmp_path):
    atoms = water()
    atoms.info["e_tot"] = -1.0
    message = refused(written(tmp_path, [atoms]))
    assert "no frame has an energy, forces, stress or virial; keys in the file: e_tot" in message


def test_two_atoms_at_one_place_are_named_with_their_frame(tmp_path):
    (record,) = read_records(text(tmp_path, ONE.replace("1\n", "2\n", 1) + "H 0 0 0 0 0 0\n"))
    with pytest.raises(InputError, match=r"frame 0: atoms 0 and 1 are at one place"):
        make_example(record, 5.0)
