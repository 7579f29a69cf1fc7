import os

import pytest

from equinet.errors import InputError
from equinet.files import replacing
from equinet.training.run_directory import new_run, read_metrics, resumed_run


def test_a_second_run_gets_a_folder_of_its_own(tmp_path):
    base = tmp_path / "runs" / "silicon"
    names = [new_run(base).path.name for _ in range(3)]
    assert names == ["silicon", "silicon-2", "silicon-3"]


def test_a_folder_with_results_is_never_claimed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")  # a log that somebody redirects there is no run
    assert new_run(tmp_path / "run").path.name == "run"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_text("precious")
    assert new_run(tmp_path / "other").path.name == "other-2"
    assert (tmp_path / "other" / "model.safetensors").read_text() == "precious"


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file"):
        new_run(tmp_path / "run")


def test_last_is_the_newest_run_and_must_exist(tmp_path):
    base = tmp_path / "run"
    with pytest.raises(InputError, match=r"last\.ckpt does not exist"):
        resumed_run(base, "last")
    first, second = new_run(base), new_run(base)
    first.last.parent.mkdir()
    first.last.write_text("")
    with pytest.raises(InputError, match="run-2"):  # the newest run has none; the older is not taken silently
        resumed_run(base, "last")
    second.last.parent.mkdir()
    second.last.write_text("")
    assert resumed_run(base, "last") == (second, second.last)
    assert resumed_run(second.path, "last") == (second, second.last)
    assert resumed_run(base, str(first.last))[0].path == first.path


def test_a_checkpoint_that_is_not_there_or_belongs_to_no_run(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        resumed_run(tmp_path, str(tmp_path / "x.ckpt"))
    stray = tmp_path / "a" / "b" / "x.ckpt"
    stray.parent.mkdir(parents=True)
    stray.write_text("")
    with pytest.raises(InputError, match="checkpoints/"):
        resumed_run(tmp_path, str(stray))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model"
    path.write_text("old")

    def fill_the_disk():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(InputError, match="disk full; what was there before is kept"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]
    with replacing(path) as temporary:
        assert temporary.parent == path.parent  # renaming is atomic within a file system only
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_metrics_without_some_values(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/loss\n0,5,\n1,10,0.25\n")
    assert read_metrics(path) == [{"epoch": 0, "step": 5}, {"epoch": 1, "step": 10, "val/loss": 0.25}]
