"""Several processes that train together: how many, which of them writes, and how they exchange gradients."""

import os
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from equinet.errors import InputError

_RANKS = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
"""Set by torchrun, srun and Lightning's own launcher; all zero in the first process of a run."""

SHARDED = "fsdp"
"""The ``trainer.strategy`` that shares out weights, optimiser and average (:mod:`equinet.training.sharding`)."""


def is_first_process() -> bool:
    """Whether this process reads the command for all: claims the run's folder, writes, and speaks to the user."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def processes_wanted(trainer: Any) -> int:
    """Processes of all nodes together.

    Args:
        trainer: the ``trainer`` part of a configuration.
    """
    devices = trainer.devices
    if isinstance(devices, str) and devices.lstrip("-").isdecimal():
        devices = int(devices)
    if isinstance(devices, str) and "," in devices:
        devices = [part for part in devices.split(",") if part.strip()]
    if isinstance(devices, list):
        devices = len(devices)
    if not isinstance(devices, int) or devices < 1:  # "auto", -1: all there are
        on_gpus = str(trainer.accelerator) in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        devices = torch.cuda.device_count() if on_gpus else 1
    return int(devices) * int(trainer.num_nodes)


def check_strategy(name: Any, compiled: bool) -> None:
    """Refuse a ``trainer.strategy`` that would not train what is asked for.

    Args:
        name: of the strategy, or an object of the user's own.
        compiled: whether the training step shall be.

    Raises:
        InputError: weights shared out in another way than ours, or with a compiled step; processes that are copies.
    """
    if name == SHARDED and compiled:
        raise InputError(
            f"model.compile does not go with trainer.strategy {SHARDED}, whose weights come and go; leave one out"
        )
    if isinstance(name, str) and name.startswith(("fsdp_", "deepspeed")):
        raise InputError(
            f"trainer.strategy {name} is not offered; use {SHARDED} to share out weights, optimiser and average, "
            "or auto where they fit on each card"
        )
    if isinstance(name, str) and any(way in name for way in ("spawn", "fork", "notebook")):
        raise InputError(
            f"trainer.strategy {name} is not offered, as it hands a run that has begun to other processes; use auto or "
            "ddp, whose processes read the configuration themselves"
        )


def data_parallel(accumulate: int) -> Strategy:
    """Distributed data parallel (Li et al. 2020, arXiv:2006.15704): gradients are averaged while they are computed.

    Every parameter takes part in every step, so no search for unused ones is needed and the graph is static. torch
    cannot hold back the exchange in a static graph, which accumulation of gradients does.
    """
    return DDPStrategy(static_graph=accumulate == 1, broadcast_buffers=False, gradient_as_bucket_view=True)


def own_part(weight: Tensor) -> Tensor:
    """What this process holds of a weight, without gradient: a part where weights are shared out, else all of it."""
    weight = weight.detach()
    return weight.to_local() if isinstance(weight, DTensor) else weight
