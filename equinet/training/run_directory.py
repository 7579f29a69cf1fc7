"""The folder of one run: a new run never writes into another's, a resumed one goes on in its own."""

import csv
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from equinet.errors import InputError


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration with every default written out; its presence claims the folder."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Data files with checksums, statistics, versions."""
        return self.path / "provenance.json"

    @property
    def split(self) -> Path:
        """Which frames were trained and validated on."""
        return self.path / "split.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def training(self) -> Path:
        """How the training went: seconds, epochs, best errors."""
        return self.path / "training.json"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def model(self) -> Path:
        """The potential with the lowest validation loss."""
        return self.path / "model.safetensors"

    def discard_unless_trained(self) -> None:
        """Give the folder back after a run that failed before its first epoch or checkpoint was over."""
        if any(path.exists() for path in (self.metrics, self.model, self.last, self.best)):
            return
        for path in (self.config, self.provenance, self.split, self.path / "wandb_id"):
            path.unlink(missing_ok=True)
        for folder in (self.last.parent, self.path):
            with suppress(OSError):  # not there, or something else lies in it
                folder.rmdir()

    def _outputs(self) -> list[Path]:
        return [self.config, self.provenance, self.metrics, self.model, self.path / "checkpoints"]

    def wandb_id(self) -> str:
        """Name of this run at wandb, the same for all its parts; made when first asked for."""
        path = self.path / "wandb_id"
        if not path.exists():
            path.write_text(secrets.token_hex(4) + "\n")
        return path.read_text().strip()


def _candidate(base: Path, number: int) -> RunDirectory:
    return RunDirectory(base if number == 1 else base.with_name(f"{base.name}-{number}"))


def new_run(base: Path) -> RunDirectory:
    """Claim ``base``, or where a run has been there ``base-2``, ``base-3``, ...

    The claim is an exclusively created configuration file, so that two runs started at once get two folders.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    number = 1
    while True:
        run = _candidate(base, number)
        number += 1
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            if any(os.path.lexists(output) for output in run._outputs()):
                continue
            run.config.open("x").close()
        except FileExistsError:
            if run.path.is_dir():
                continue  # another run was faster
            raise InputError(f"run_dir {run.path} is a file; give a folder") from None
        except OSError as error:
            raise InputError(f"run_dir {run.path} cannot be used ({error.strerror}); give another") from error
        return run


def newest_run(base: Path) -> RunDirectory:
    """The newest of ``base``, ``base-2``, ...; it may not be there."""
    number = 1
    while _candidate(base, number + 1).config.exists():
        number += 1
    return _candidate(base, number)


def resumed_run(base: Path, ckpt_path: str) -> tuple[RunDirectory, Path]:
    """Find the run to go on with, and its checkpoint.

    Args:
        base: ``run_dir`` of the configuration.
        ckpt_path: "last" for the newest of ``base``, ``base-2``, ...; or the path of a checkpoint,
            whose run is continued.

    Raises:
        InputError: there is no such run or checkpoint.
    """
    if ckpt_path != "last":
        checkpoint = Path(ckpt_path)
        if not checkpoint.is_file():
            raise InputError(f'ckpt_path {checkpoint}: no such file; give a checkpoint, or "last"')
        run = RunDirectory(checkpoint.resolve().parents[1])
        if not run.config.is_file():
            raise InputError(f"ckpt_path {checkpoint} does not lie in the checkpoints/ folder of a run")
        return run, checkpoint
    run = newest_run(base)
    if not run.last.is_file():
        raise InputError(
            f"ckpt_path is last, but {run.last} does not exist; start a new run without --ckpt_path, "
            "or give run_dir or the path of a checkpoint"
        )
    return run, run.last


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a metrics file: a dictionary of numbers per epoch, without the values an epoch lacks."""
    with open(path, newline="") as file:
        return [
            {name: int(text) if name in ("epoch", "step") else float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]
