"""YAML and command line to a run, by LightningCLI: keys are constructor arguments, a mistake is one line."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from equinet.data import StressCheck, check_stress, summarize
from equinet.deploy import KINDS, export_model
from equinet.errors import InputError
from equinet.models import load_model
from equinet.training.checkpoint import AtomicCheckpointIO, Checkpoints
from equinet.training.config_keys import changed_keys, check_key, given_keys, one_line, read_yaml
from equinet.training.datamodule import AtomicDataModule
from equinet.training.failures import explained, is_of_trainer
from equinet.training.finetuning import FineTuning, parent_settings
from equinet.training.history import History
from equinet.training.loggers import LoggerName, finish_loggers, make_loggers
from equinet.training.memory_budget import Found, MeasuredBudget
from equinet.training.module import PotentialModule
from equinet.training.precision import check_precision, tf32_matrices
from equinet.training.processes import SHARDED, check_strategy, data_parallel, is_first_process, processes_wanted
from equinet.training.progress import TrainingProgress
from equinet.training.provenance import collect_provenance, write_provenance
from equinet.training.run_directory import RunDirectory, new_run, newest_run, resumed_run
from equinet.training.sharding import ShardedStrategy
from equinet.training.stopping import EndAtStep

TRAINER_DEFAULTS: dict[str, Any] = {
    "accelerator": "auto",
    "devices": 1,
    "max_epochs": 100,
    "deterministic": True,
    "logger": False,  # metrics.csv is always written; others are asked for with `loggers`
    "inference_mode": False,  # forces are derivatives, in validation too
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the order of batches is the data module's
    "reload_dataloaders_every_n_epochs": 1,  # each epoch has a plan of its own, which may be longer than the last
}
"""What differs from Lightning's own defaults. Every key can be set in the configuration."""

LINKED = {"seed_everything", "data.seed", "data.cutoff", "data.modals", "data.finetune", "model.schedule.total_steps"}
"""Keys that are set by another key; never offered as the one that was meant."""

SHOWN_TRAINER_KEYS = ("accelerator", "devices", "num_nodes", "max_epochs", "max_steps", "max_time", "gradient_clip_val")
"""Of Lightning's many, those that --help explains."""

COUNTED = (
    "checkpoint_every_n_steps",
    "trainer.accumulate_grad_batches",
    "trainer.check_val_every_n_epoch",
    "trainer.val_check_interval",
)
"""Keys that say after how many steps or epochs something happens; Lightning divides by them."""

DESCRIPTION = """Train a potential on labelled structures. Every key of the configuration file can be given on the
command line too; --device (cpu, cuda, cuda:N) and --dtype stand for trainer.accelerator and model.dtype. All of
Lightning's Trainer arguments are keys of "trainer"; --trainer.strategy fsdp shares out weights, optimiser and average
between the processes. --committee K trains K members, with --committee_subsets each on other frames. Examples:
equinet train --config configs/quickstart.yaml;
equinet train --config configs/quickstart.yaml --data.train_path my.extxyz --run_dir runs/mine;
equinet train --config configs/universal.yaml --data.train_path STORE:train --data.max_edges auto --device cuda;
equinet train --config runs/mine/config.yaml --resume auto"""


class TrainCLI(LightningCLI):
    """Parse a configuration and build everything a run needs; :meth:`fit` runs it.

    Args:
        args: command line after the verb.

    Raises:
        InputError: for anything wrong with the configuration or the data.
    """

    def __init__(self, args: Sequence[str]) -> None:
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        self._for_help = bool({"-h", "--help"} & set(args))
        super().__init__(
            PotentialModule,
            AtomicDataModule,
            args=list(args),
            run=False,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "exit_on_error": False,
                "prog": "equinet train",
                "usage": "equinet train --config FILE [--KEY VALUE ...]",
                "description": DESCRIPTION,
            },
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys of the run itself."""
        parser.add_argument("--run_dir", type=str, default="runs/run", help="folder of the run; runs/x-2 if x is taken")
        parser.add_argument("--seed", type=int, default=0, help="of initial weights and order of batches")
        parser.add_argument(
            "--loggers", type=list[LoggerName], default=["csv"], help="csv (always written), tensorboard, wandb"
        )
        parser.add_argument(
            "--checkpoint_every_n_steps", type=int | None, default=None, help="besides after every epoch"
        )
        parser.add_argument("--ckpt_path", type=str | None, default=None, help='resume: "last", or a checkpoint')
        parser.add_argument(
            "--resume",
            type=Literal["never", "auto"],
            default="never",
            help="auto: go on with the newest run in run_dir if there is one, so that a job can be submitted again",
        )
        parser.add_argument(
            "--export",
            type=list[Literal["torchscript", "aoti", "lammps"]],
            default=[],
            help="what to write of the model when it is trained, as equinet export does",
        )
        super().add_default_arguments_to_parser(parser)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys of trainer, model and data; keep --help to those of use to most."""
        super().add_core_arguments_to_parser(parser)
        if not self._for_help:
            return  # what is not shown would not be written to the run's config.yaml either
        shown = {f"trainer.{name}" for name in SHOWN_TRAINER_KEYS}
        linked = {"model.start.help", "data.finetune.help"}
        for action in parser._actions:
            if (action.dest.startswith("trainer.") and action.dest not in shown) or action.dest in linked:
                action.help = argparse.SUPPRESS

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what must agree."""
        parser.link_arguments("seed", "seed_everything")
        parser.link_arguments("seed", "data.seed")
        parser.link_arguments("model.architecture.cutoff", "data.cutoff")
        parser.link_arguments("model.architecture.modals", "data.modals")
        parser.link_arguments("trainer.max_steps", "model.schedule.total_steps", compute_fn=end_of_schedule)
        parser.link_arguments("model.finetune", "data.finetune")
        parser.link_arguments("data.statistics", "model.statistics", apply_on="instantiate")
        parser.link_arguments("data.start", "model.start", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and say what is wrong in one line."""
        known = {action.dest for action in parser._actions if not action.dest.endswith(".help")}
        for key, where in given_keys(args):
            check_key(key, where, known, offered=known - LINKED - {"help", "print_shtab"})
        try:
            self.config = parser.parse_args(args)
            settings = FineTuning(**self.config.model.finetune)
            if settings.parent is not None:
                # what the parent decides becomes the keys' defaults: so that the keys linked to them and the run's
                # configuration hold it, and that a key which says otherwise is seen
                decided = {f"model.{key}": value for key, value in parent_settings(settings).items()}
                parser.set_defaults(decided)
                self.config = parser.parse_args(args)
                check_decided(decided, self.config, settings.parent)
        except argparse.ArgumentError as error:
            raise InputError(one_line(str(error))) from error

    def before_instantiate_classes(self) -> None:
        """Find the run to resume before any data is read; refuse a GPU that is not there."""
        self.run: RunDirectory | None = None
        self.checkpoint: Path | None = None
        self.first = is_first_process()
        base = Path(self.config.run_dir)
        if self.config.ckpt_path is not None:
            self.run, self.checkpoint = resumed_run(base, self.config.ckpt_path)
        elif self.config.resume == "auto":
            self.run = newest_run(base)
            if self.run.last.is_file():
                self.checkpoint = self.run.last
            else:  # killed before its first checkpoint
                if self.first:
                    self.run.discard_unless_trained()
                self.run = None
        if self.checkpoint is not None and self.run is not None:
            if self.config.data.max_edges == "auto":  # measured when the run began; its batches must stay the same
                self.config.data.max_edges = read_yaml(self.run.config)["data"]["max_edges"]
            lines = changed_keys(read_yaml(self.run.config), self._configuration(), self.run.config)
            self._say(f"resuming {self.run.path} from {self.checkpoint}", *lines)
        modals = self.config.model.architecture.modals
        if "lammps" in self.config.export and modals:
            raise InputError("export: LAMMPS runs one level of theory, of several; export it later, with --modal NAME")
        check_precision(self.config.trainer.precision)
        check_strategy(self.config.trainer.strategy, compiled=self.config.model.compile)
        if self.config.trainer.overfit_batches:
            raise InputError(
                "trainer.overfit_batches is not offered, as the order of batches is the data's; data.n_train trains on "
                "few frames"
            )
        for key in COUNTED:
            every = self.config[key]
            if isinstance(every, (int, float)) and every <= 0:
                raise InputError(f"{key} is {every}; it must be above 0, leave it out for the default")
        wanted = str(self.config.trainer.accelerator)
        if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
            raise InputError(f"trainer.accelerator is {wanted}, but torch sees no GPU here; use cpu or auto")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Claim the run directory and add what belongs to every run."""
        resumed = self.checkpoint is not None
        if self.run is None:
            base = Path(self.config.run_dir)
            # other processes are told the folder when all have started
            self.run = new_run(base) if self.first else RunDirectory(base)
        self.config.run_dir = str(self.run.path)
        try:
            return self._trainer(self.run, resumed)
        except InputError:  # of the data
            if self.first:
                self.run.discard_unless_trained()
            raise
        except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
            if self.first:
                self.run.discard_unless_trained()
            if isinstance(error, TypeError) and not is_of_trainer(error):
                raise
            raise InputError("trainer: " + " ".join(str(error).split())) from error

    def _trainer(self, run: RunDirectory, resumed: bool) -> Trainer:
        statistics = self.datamodule.statistics
        check = check_stress(self.datamodule.records.own) if statistics.frames_with_stress else None
        self._announce(run, check)
        provenance = collect_provenance(self.datamodule.records, self._configuration(), check)

        if self.first and not resumed:
            write_provenance(run, provenance, self.datamodule.records.sources())

        def keep_budget(found: Found) -> None:
            self.config.data.max_edges = found.max_edges  # a run that goes on, or repeats this one, takes the number
            provenance["config"] = self._configuration()
            if self.first:
                write_provenance(run, provenance | {"budget": asdict(found)}, self.datamodule.records.sources())

        chosen = self.config_init.trainer
        callbacks = [
            MeasuredBudget(keep_budget),
            *_as_list(chosen.callbacks),
            History(run),
            Checkpoints(run, provenance, self.config.checkpoint_every_n_steps),
        ]
        if chosen.enable_progress_bar is not False:
            callbacks.append(TrainingProgress())
        processes = processes_wanted(chosen)
        if chosen.max_steps > 0:
            callbacks.append(EndAtStep(chosen.max_steps))
            chosen.max_epochs = chosen.max_steps = -1  # until it is known how many steps an epoch has
        if processes > 1 and chosen.strategy == "auto":
            chosen.strategy = data_parallel(chosen.accumulate_grad_batches)
        if chosen.strategy == SHARDED:
            chosen.strategy = ShardedStrategy()
        chosen.callbacks = callbacks
        chosen.plugins = [*_as_list(chosen.plugins), AtomicCheckpointIO()]
        loggers = make_loggers(self.config.loggers, run, self.first)
        chosen.logger = [*_as_list(chosen.logger or None), *loggers] or False
        chosen.default_root_dir = str(run.path)
        return super().instantiate_trainer()

    def _configuration(self) -> dict[str, Any]:
        configuration: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        configuration.pop("ckpt_path", None)  # resuming is asked for anew each time
        return configuration

    def _say(self, *lines: str) -> None:
        if self.first:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()

    def _announce(self, run: RunDirectory, check: StressCheck | None) -> None:
        reports = list(self.datamodule.records.readings.values())
        size = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        model = (
            f"model: {size} parameters, {self.config.model.dtype}; seed {self.config.seed}; run directory {run.path}"
        )
        start, records = self.datamodule.start, self.datamodule.records
        references = start.describe() if start else None
        if references and self.checkpoint is not None:
            del references[1:]  # the checkpoint holds E0, and how they were shifted when the run began
        if references and records.replayed:
            count = len(records.replayed)
            each = records.replay.each_epoch(len(records.train) - count)
            references.append(
                f"replayed: {count} structures of {records.replay.path} in turn, {each} in each epoch, labelled by "
                f"the {records.replay.label}"
            )
        lines = summarize(reports, self.datamodule.statistics, check, references)
        if "val" in records.files and records.files["val"].resolve() == records.files["train"].resolve():
            lines.append("validation is on the training file itself: errors of unseen structures stay unknown")
        self._say(*lines, model)

    def go_on_command(self) -> str:
        """What a user types to go on with this run."""
        return f"equinet train --config {self._run_of_all().config} --resume auto"

    def _go_on_sentence(self) -> str:
        saved = self._run_of_all().last.exists()
        return f"go on with: {self.go_on_command()}" if saved else "nothing was saved yet, start again"

    def _run_of_all(self) -> RunDirectory:
        """The run's folder as the first process has claimed it, which the others know when the training has begun."""
        assert self.run is not None
        return self.run if self.first else RunDirectory(self.model.run_path)

    def fit(self) -> RunDirectory:
        """Train; return where the results are.

        Raises:
            InputError: a loss that is not finite, a checkpoint that cannot be written, or what
                :func:`equinet.training.failures.explained` knows.
            StoppedBySignal: the run was told to stop, and has saved.
            KeyboardInterrupt: the user stopped the run.
        """
        assert self.run is not None
        try:
            with _fresh_memory_unfilled(), tf32_matrices(self.model.tf32):
                self.trainer.fit(self.model, self.datamodule, ckpt_path=self.checkpoint, weights_only=True)
            if self.first and not self.run.model.exists():
                raise InputError("no step was taken, so there is no model; give trainer.max_time or max_epochs more")
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            if self.run.last.exists():
                sys.stderr.write(f"go on with: {self.go_on_command()}\n")
            raise KeyboardInterrupt from error
        except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
            known = explained(error, self.checkpoint, self.trainer.world_size, self._go_on_sentence())
            if known is None:
                raise
            raise known from error
        finally:
            finish_loggers(self.trainer.loggers)
            if self.first:
                self.run.discard_unless_trained()
        return self.run

    def export(self) -> list[Path]:
        """Write the trained model as the artefacts that the configuration names, beside the model file.

        Raises:
            InputError: one cannot be made of this model, or does not give its answers.
        """
        assert self.run is not None
        written = []
        for kind in self.config.export:
            path = self.run.model.with_name(f"model-{kind}{KINDS[kind][0]}")
            export_model(load_model(self.run.model, str(self.trainer.strategy.root_device)), kind, path)
            written.append(path)
        return written


def check_decided(decided: dict[str, Any], config: Any, parent: str) -> None:
    """Refuse a key that contradicts the parent of a fine-tuning.

    Raises:
        InputError: naming it.
    """
    for key, value in decided.items():
        if config[key] != value:
            raise InputError(f"{key} is {config[key]}, but the parent {parent} has {value}; leave the key out")


def end_of_schedule(max_steps: int) -> int | None:
    """The step at which a cosine reaches zero: the last one, where the configuration gives it."""
    return max_steps if max_steps > 0 else None


@contextmanager
def _fresh_memory_unfilled() -> Iterator[None]:
    """Spare what deterministic mode adds for debugging: filling fresh memory with NaN costs a tenth of a step."""
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def expand_shorthands(args: Sequence[str]) -> list[str]:
    """Spell out ``--device``, ``--dtype`` (also with "=").

    Raises:
        InputError: an unknown device.
    """
    expanded: list[str] = []
    arguments = iter(args)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == "--dtype":
            expanded += ["--model.dtype", value if equals else next(arguments, "")]
        elif name == "--device":
            expanded += _device_options(value if equals else next(arguments, ""))
        else:
            expanded.append(argument)
    return expanded


def _device_options(device: str) -> list[str]:
    kind, _, index = device.partition(":")
    if kind in ("cpu", "auto") and not index:
        return ["--trainer.accelerator", kind, "--trainer.devices", "1"]
    if kind in ("cuda", "gpu") and (not index or index.isdecimal()):
        return ["--trainer.accelerator", "gpu", "--trainer.devices", f"[{index or 0}]"]
    raise InputError(f"--device {device} is not a device; use cpu, cuda, cuda:1, ... or auto")
