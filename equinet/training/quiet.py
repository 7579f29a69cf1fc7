"""Silence what other packages say that is no news to a user; by exact message, so that anything new is heard."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.distributed",
    "lightning.fabric.utilities.seed",
    "lightning.pytorch.trainer.connectors.signal_connector",
)

_LOG_PREFIXES = (
    "Seed set to ",
    "GPU available: ",
    "TPU available: ",
    "HPU available: ",
    "💡 Tip: ",
    "Using default `ModelCheckpoint`",
    "`Trainer.fit` stopped: `max_epochs=",
    "`Trainer.fit` stopped: `max_steps=",
    "Restoring states from the checkpoint path at ",
    "Restored all states from the checkpoint at ",
    "Loading `train_dataloader` to estimate number of stepping batches.",
    "LOCAL_RANK: ",
    "SLURM auto-requeueing enabled.",  # signals are ours while training
    "Initializing distributed: GLOBAL_RANK: ",
    "-----------------",
)
"""Beginnings of Lightning's log lines about defaults and advertisements."""

_WARNINGS = (
    # batches are cut from examples kept in memory: workers would only copy them
    r"The '(train|val)_dataloader' does not have many workers which may be a bottleneck",
    # the position in an epoch is kept by the data module, which makes the loader anew
    r"You're resuming from a checkpoint that ended before the epoch ended and your dataloader is not resumable\.",
    # torch 2.13 gave it another name, which earlier versions do not know
    r"`broadcast_buffers` is deprecated\. Use `forward_sync_buffers` instead\.",
    # on the login node of a cluster, say; srun is one way to start a run, not the only one
    r"The `srun` command is available on your system but is not used\.",
    # errors are summed over processes before they are logged
    r"It is recommended to use `self\.log\('[\w/]+', \.\.\., sync_dist=True\)`",
    # rows per epoch are ours; Lightning's step logging is for the other loggers
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # `args` is how `equinet train` calls LightningCLI
    r"LightningCLI's args parameter is intended to run from within Python",
    # nothing is changed in place in what a sharded potential returns
    r"FSDP2-wrapped module \(FSDPPotential\) returned a view tensor\.",
    # Lightning 2.6 uses a class of torch that is deprecated
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # Lightning 2.6 calls jsonargparse by a name that is deprecated
    r"\s*``instantiate_classes`` was deprecated in v4\.49\.0",
    r"\s*By default only one JsonargparseDeprecationWarning per type is shown",
)


class _NotNews(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not re.sub(r"^\[rank: \d+\] ", "", record.getMessage()).startswith(_LOG_PREFIXES)


@contextmanager
def quiet_third_parties() -> Iterator[None]:
    """Filter the known messages while the context lasts."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    not_news = _NotNews()
    for logger in loggers:
        logger.addFilter(not_news)
    try:
        with warnings.catch_warnings():
            for message in _WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(not_news)
