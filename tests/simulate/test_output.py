import ase.io
import pytest
from ase import Atoms

from equinet.errors import InputError
from equinet.files import check_output, replacing
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
