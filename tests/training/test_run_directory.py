import errno
import os

import pytest

from equinet.errors import InputError
from equinet.files import replacing
from equinet.training.loggers import make_loggers
from equinet.training.run_directory import RunDirectory, new_run, read_metrics, resumed_run


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


def test_a_first_write_that_fails_promises_nothing(tmp_path):
    def fill_the_disk():
        with replacing(tmp_path / "model"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"No space left on device; make room and try again$"):
        fill_the_disk()


def test_a_run_that_saved_nothing_gives_its_name_back(tmp_path):
    run = new_run(tmp_path / "run")
    run.last.parent.mkdir()  # where the first checkpoint could not be written
    run.discard_unless_trained()
    assert os.listdir(tmp_path) == []
    run = new_run(tmp_path / "run")
    run.last.parent.mkdir()
    run.last.touch()
    run.discard_unless_trained()
    assert run.config.exists()
    assert run.last.exists()


def test_only_the_first_process_names_the_run_at_wandb(tmp_path, monkeypatch):
    """The others do not know the run's folder yet, which may be another than the one asked for."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    other = RunDirectory(tmp_path)
    assert len(make_loggers(["tensorboard", "wandb"], other, first=False)) == 2
    assert os.listdir(tmp_path) == []
    (logger,) = make_loggers(["wandb"], other, first=True)
    assert logger.version == other.wandb_id()


def test_metrics_without_some_values(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/loss\n0,5,\n1,10,0.25\n")
    assert read_metrics(path) == [{"epoch": 0, "step": 5}, {"epoch": 1, "step": 10, "val/loss": 0.25}]
