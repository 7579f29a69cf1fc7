"""Loggers by name, beside ``metrics.csv``, which every run writes."""

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch.loggers import Logger

from equinet.training.run_directory import RunDirectory

LoggerName = Literal["csv", "tensorboard", "wandb"]


def make_loggers(names: Sequence[LoggerName], run: RunDirectory, first: bool) -> list[Logger]:
    """Build the loggers asked for; "csv" needs none.

    Args:
        names: of the loggers.
        run: where to.
        first: whether this process logs. The others have loggers that do nothing, and may not know the run yet.
    """
    loggers: list[Logger] = []
    if "tensorboard" in names:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
    if "wandb" in names:
        from lightning.pytorch.loggers import WandbLogger

        identity = run.wandb_id() if first else None  # under one identity a resumed run goes on in the same curves
        loggers.append(
            WandbLogger(project="equinet", name=run.path.name, save_dir=str(run.path), id=identity, resume="allow")
        )
    return loggers


def finish_loggers(loggers: Sequence[Logger]) -> None:
    """Let wandb write out what it holds back until a run is finished."""
    for logger in loggers:
        if type(logger).__name__ == "WandbLogger":
            logger.experiment.finish()  # type: ignore[attr-defined]
