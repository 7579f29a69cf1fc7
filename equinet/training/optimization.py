"""The optimiser and its learning-rate schedule, built from plain settings."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from equinet.errors import InputError
from equinet.training.losses import SecondStage
from equinet.training.pace import Pace


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimiser, and its numbers.

    Args:
        name: "adam", "adamw" (decoupled weight decay) or "amsgrad" (Adam with the maximum of past second moments).
        lr: the highest learning rate; the schedule multiplies it.
        weight_decay: for "adamw" decoupled, else added to the gradient.
        betas: decay rates of the first and second moments.
    """

    name: Literal["adam", "adamw", "amsgrad"] = "adam"
    lr: float = 0.005
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if not 0.0 < self.lr < float("inf"):
            raise InputError(f"model.optimizer.lr is {self.lr}; the learning rate must be positive")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise InputError(f"model.optimizer.weight_decay is {self.weight_decay}; it must be zero or positive")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise InputError(f"model.optimizer.betas is {list(self.betas)}; both must be at least 0 and below 1")


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate changes over the run.

    Args:
        name: "cosine" falls to zero over all steps of the run; "plateau" divides whenever the validation loss stops
            falling; "constant" stays.
        warmup_steps: linear rise from zero over this many optimiser steps (not with "plateau").
        factor: what "plateau" multiplies by.
        patience: epochs without improvement that "plateau" waits for.
        total_steps: where "cosine" reaches zero; null for the end of the run (linked to ``trainer.max_steps``).
    """

    name: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup_steps: int = 0
    factor: float = 0.5
    patience: int = 20
    total_steps: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise InputError(f"model.schedule.warmup_steps is {self.warmup_steps}; it must not be negative")
        if self.name == "plateau" and self.warmup_steps:
            raise InputError('model.schedule: "plateau" has no warm-up; set warmup_steps to 0 or use "cosine"')
        for name in ("factor", "patience"):
            if self.name != "plateau" and getattr(self, name) != getattr(ScheduleSettings, name):
                raise InputError(
                    f'model.schedule.{name} has no effect with model.schedule.name "{self.name}"; set it to "plateau"'
                )
        if self.patience < 0:
            raise InputError(f"model.schedule.patience is {self.patience}; it must not be negative")
        if not 0.0 < self.factor < 1.0:
            raise InputError(f"model.schedule.factor is {self.factor}; it must lie between 0 and 1")


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """Make the optimiser (Kingma and Ba 2015; Loshchilov and Hutter 2019; Reddi et al. 2018) of weights or groups."""
    optimizer = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return optimizer(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        amsgrad=settings.name == "amsgrad",
    )


def learning_rate_factor(
    settings: ScheduleSettings, pace: Pace | None, late: SecondStage | None = None
) -> Callable[[int], float]:
    """Return step -> factor of the learning rate; a closed form, so that a resumed run needs no history.

    Args:
        settings: of the schedule.
        pace: of the run; None where nothing ends it.
        late: multiplies the learning rate from its start on.

    Raises:
        InputError: for a cosine over a run of unknown length.
    """
    if settings.name == "cosine" and pace is None:
        raise InputError(
            'model.schedule.name is "cosine" but the run has no end; set trainer.max_epochs or trainer.max_steps'
        )

    def factor(step: int) -> float:
        progress = 0.0 if pace is None else pace.progress(step)
        late_factor = late.lr_factor if late is not None and progress >= late.start else 1.0
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps * late_factor
        if settings.name == "constant" or pace is None:
            return late_factor
        warm = pace.progress(settings.warmup_steps)
        fall = (progress - warm) / (1.0 - warm) if warm < 1.0 else 1.0
        return 0.5 * (1.0 + math.cos(math.pi * fall)) * late_factor

    return factor


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, pace: Pace | None, late: SecondStage | None = None
) -> LambdaLR | ReduceLROnPlateau:
    """Make the schedule; LambdaLR is stepped once per optimiser step, ReduceLROnPlateau once per validated epoch."""
    if settings.name == "plateau":
        if late is not None and late.lr_factor != 1.0:
            raise InputError(
                'model.loss.second_stage.lr_factor does not go with model.schedule.name "plateau"; use "cosine" or '
                '"constant"'
            )
        return ReduceLROnPlateau(optimizer, factor=settings.factor, patience=settings.patience)
    return LambdaLR(optimizer, learning_rate_factor(settings, pace, late))
