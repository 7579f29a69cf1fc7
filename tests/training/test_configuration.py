import io
import re
import subprocess
import sys

import pytest
from lightning.pytorch import Trainer
from rich.console import Console

from equinet.cli.main import main
from equinet.errors import InputError
from equinet.training.config_keys import check_key, given_keys, nearest_key, one_line
from equinet.training.configuration import expand_shorthands
from equinet.training.pace import Pace
from equinet.training.progress import TrainingProgress

KNOWN = {
    "config",
    "seed",
    "run_dir",
    "trainer.max_epochs",
    "trainer.callbacks",
    "data.batch_size",
    "data.priors",
    "model.optimizer.lr",
    "model.architecture.cutoff",
    "model.architecture.channels",
}


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("model.architecture.cutof", "model.architecture.cutoff"),
        ("model.archtecture.cutoff", "model.architecture.cutoff"),
        ("cutoff", "model.architecture.cutoff"),
        ("lr", "model.optimizer.lr"),
        ("model.lr", "model.optimizer.lr"),
        ("data.batchsize", "data.batch_size"),
        ("batch_size", "data.batch_size"),
        ("max_epoch", "trainer.max_epochs"),
        ("sead", "seed"),
        ("trainer.max_epochs.x", "trainer.max_epochs"),
        ("qqqqqq", None),
    ],
)
def test_the_key_that_was_meant_is_named(wrong, meant):
    assert nearest_key(wrong, KNOWN) == meant


@pytest.mark.parametrize("key", ["seed", "model", "model.architecture", "trainer.callbacks.patience", "data.priors.Si"])
def test_known_keys_groups_and_what_lies_below_free_types_pass(key):
    check_key(key, "a test", KNOWN, KNOWN)


def test_an_unknown_key_says_where_it_stands(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  architecture: {cutof: 3}\n")
    arguments = ["--config", str(path), "--seed=3", "--trainer.callbacks+", "X"]
    found = dict(given_keys(arguments))
    assert found == {
        "config": "option --config",
        "model.architecture.cutof": str(path),
        "seed": "option --seed",
        "trainer.callbacks": "option --trainer.callbacks",
    }
    with pytest.raises(InputError, match=re.escape(f"({path}); did you mean model.architecture.cutoff?")):
        check_key("model.architecture.cutof", str(path), KNOWN, KNOWN)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1\n", "not valid YAML"), ("- 1\n", "holds a list"), ("", "holds nothing"), (None, "No such file")],
)
def test_configuration_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        list(given_keys(["--config", str(path)]))


def test_shorthands():
    assert expand_shorthands(["--dtype", "float64", "--seed", "3"]) == ["--model.dtype", "float64", "--seed", "3"]
    assert expand_shorthands(["--device=cpu"]) == ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    assert expand_shorthands(["--device", "cuda:2"]) == ["--trainer.accelerator", "gpu", "--trainer.devices", "[2]"]
    with pytest.raises(InputError, match="not a device"):
        expand_shorthands(["--device", "gpuu"])


def test_complaints_of_the_parser_become_one_line():
    text = one_line("Parser key \"data.batch_size\":\n  Expected a <class 'int'>. Got value: abc")
    assert text == "data.batch_size: expected int. Got value: abc"
    text = one_line("Parser key \"a\": Expected a typing.Literal['x', 'y']. Got value: z")
    assert text == "a: expected one of 'x', 'y'. Got value: z"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.architecture.cutof", "3"), "did you mean model.architecture.cutoff"),
        (("--data.batch_size", "abc"), "data.batch_size: expected one of int, NoneType"),
        (("--model.schedule.name", "cosin"), "expected one of 'cosine'"),
        (("--model.architecture.channels", "x"), "expected one of int, list"),
        (("--data.cutoff", "3"), "model.architecture.cutoff"),
        (("surplus",), "surplus"),
        (("--trainer.accelerator", "tpu"), "torch_xla"),
        (("--trainer.max_time", "3 minutes"), "DD:HH:MM:SS"),
        (("--trainer.max_epochs", "-1"), "cosine"),
        (("--data.train_path", "nope.extxyz"), "nope.extxyz: no such file"),
        (("--data.n_train", "999"), "n_train is 999"),
        (("--model.architecture.cutoff", "-1"), "cutoff"),
        (("--model.loss.energy", "-1"), "model.loss.energy"),
        (("--data.num_workers", "-1"), "data.num_workers is -1; it must be 0"),
        (("--data.weights.key", "nokey"), "data.weights.key is 'nokey', which the info of no frame has"),
        (("--model.loss.force_weight_by_element", "{Mo: 2.0}"), "no effect: it names Mo, the structures have Cu"),
        (("--checkpoint_every_n_steps", "0"), "checkpoint_every_n_steps is 0; it must be above 0"),
        (("--checkpoint_every_n_steps", "-2"), "checkpoint_every_n_steps is -2; it must be above 0"),
        (("--trainer.accumulate_grad_batches", "0"), "trainer.accumulate_grad_batches is 0; it must be above 0"),
        (("--trainer.check_val_every_n_epoch", "0"), "trainer.check_val_every_n_epoch is 0; it must be above 0"),
        (("--trainer.val_check_interval", "0"), "trainer.val_check_interval is 0"),
        (("--trainer.overfit_batches", "2"), "trainer.overfit_batches is not offered"),
        (("--trainer.devices", "-1"), "`devices`"),
        (("--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"), "trainer.strategy ddp_spawn is not offered"),
        (("--trainer.strategy", "ddp_fork", "--trainer.devices", "2"), "trainer.strategy ddp_fork is not offered"),
        (("--trainer.val_check_interval", "100"), "val_check_interval"),
        (("--trainer.precision", "16-mixed"), "trainer.precision 16-mixed is not offered; model.dtype"),
        (
            ("--model.schedule.name", "plateau", "--trainer.limit_val_batches", "0"),
            'model.schedule.name is "plateau", which follows the validation loss, but there is no validation',
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(tiny_config, tmp_path, capsys, options, message):
    assert main(["train", "--config", str(tiny_config), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("equinet: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "runs" / "tiny" / "config.yaml").exists()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU here")
@pytest.mark.parametrize("options", [("--device", "cuda"), ("--trainer.accelerator", "gpu")])
def test_a_gpu_that_is_not_there(tiny_config, capsys, options):
    assert main(["train", "--config", str(tiny_config), *options]) == 1
    assert "torch sees no GPU here" in capsys.readouterr().err


def test_no_data(tmp_path, capsys):
    assert main(["train", "--run_dir", str(tmp_path / "x")]) == 1
    assert "data.train_path" in capsys.readouterr().err


def test_help_has_an_example_and_no_usage_dump(capsys):
    with pytest.raises(SystemExit) as done:
        main(["train", "--help"])
    assert done.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "equinet train --config configs/quickstart.yaml" in text
    assert "--model.architecture.cutoff" in text
    assert "Neighbours are atoms nearer than this" in text
    assert "--trainer.sync_batchnorm" not in text


def test_evaluation_and_report_need_no_lightning():
    code = (
        "import sys; import equinet.training.evaluation, equinet.training.report, equinet.training.run_directory; "
        "print([name for name in sys.modules if name.split('.')[0] in ('lightning', 'wandb', 'jsonargparse')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


class _Module:
    """What the progress bar asks of a training module."""

    def train_metrics(self):
        return {"train/loss": 0.5, "lr": 0.01}

    def pace(self):
        return Pace([(0, 0.0)], 10)


def test_a_terminal_gets_a_bar_and_the_same_lines(monkeypatch):
    monkeypatch.setattr("equinet.training.progress.PotentialModule", _Module)
    output = io.StringIO()
    progress = TrainingProgress(Console(file=output, force_terminal=True, width=120))
    trainer = Trainer(max_epochs=2, logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
    trainer.callback_metrics.update({"val/loss": 0.25, "val/force_mae_mev_per_angstrom": 61.5})
    progress.on_train_start(trainer, _Module())
    progress.on_train_batch_end(trainer, _Module(), None, None, 0)
    progress.on_train_epoch_end(trainer, _Module())
    progress.on_train_end(trainer, _Module())
    text = output.getvalue()
    assert "steps" in text
    assert "F meV/A" in text
    assert "61.50" in text
    assert "S meV/A^3" not in text
