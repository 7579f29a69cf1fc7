from pathlib import Path

import ase.io
import pytest
from ase import Atoms

from equinet.errors import InputError
from equinet.files import check_output, check_outputs, replacing
from equinet.simulate.output import trajectory_writer


def test_outputs_that_cannot_be_are_refused_early(tmp_path):
    check_output(tmp_path / "a.extxyz", (".extxyz",))
    with pytest.raises(InputError, match=r"no folder .*absent; make it"):
        check_output(tmp_path / "absent" / "a.extxyz")
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(InputError, match=r"end in .extxyz or .traj"):
        check_output(tmp_path / "a.pdb", (".extxyz", ".traj"))


def test_a_file_is_whole_or_untouched(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def fail():
        with replacing(path) as partial:
            partial.write_text("half of the sec")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.traj"])
def test_frames_written_before_a_failure_are_kept(tmp_path, name):
    path = tmp_path / name

    def fail():
        with trajectory_writer(path) as write:
            write(Atoms("Si"))
            write(Atoms("Si2", [[0, 0, 0], [0, 0, 2]]))
            assert len(ase.io.read(tmp_path / f"{name}.partial", index=":", format=path.suffix[1:])) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(ase.io.read(path, index=":")) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_without_frames_the_old_file_stays(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text("old")
    with trajectory_writer(path):
        pass
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_are_neither_inputs_nor_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store, link = tmp_path / "STORE", tmp_path / "link.extxyz"
    store.mkdir()
    link.symlink_to("a.extxyz")
    a, b = Path("a.extxyz"), Path("b.extxyz")
    check_outputs({"-o": a, "--log": b, "--json": None}, ["7net-0", None, store, Path("STORE:train")])
    for outputs, inputs in (
        ({"-o": a}, [b, tmp_path / "a.extxyz"]),
        ({"-o": link}, [a]),
        ({"-o": None, "--report": Path("STORE")}, [a, Path("STORE:train")]),
    ):
        with pytest.raises(InputError, match="is one of the inputs; give the output another name"):
            check_outputs(outputs, inputs)
    with pytest.raises(InputError, match=r"--log .*link.extxyz is what -o names too"):
        check_outputs({"-o": a, "--log": link}, [b])
