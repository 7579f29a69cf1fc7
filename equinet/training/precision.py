"""Faster arithmetic with fewer digits, by choice only."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from equinet.errors import DataWarning, InputError
from equinet.nn import EquivariantLinear, SpeciesLinear


def check_precision(precision: Any) -> None:
    """Refuse Lightning's ``trainer.precision``, which knows nothing of a potential's own.

    Raises:
        InputError: another than float32, which changes nothing.
    """
    if str(precision) not in ("None", "32", "32-true"):
        raise InputError(
            f"trainer.precision {precision} is not offered; model.dtype (--dtype) chooses float32 or float64, and "
            "model.linear_maps bfloat16 for linear maps alone"
        )


def use_bfloat16(model: nn.Module) -> None:
    """Round the factors of every equivariant linear map to bfloat16, and warn what that costs."""
    for part in model.modules():
        if isinstance(part, (EquivariantLinear, SpeciesLinear)):
            part.in_bfloat16 = True
    warnings.warn(
        "model.linear_maps is bfloat16: in training, forces are noisy by about one per cent of their rms "
        "(python benchmarks/training/options.py measures it), so errors below that are hard to reach; validation and "
        "the saved model use full precision",
        DataWarning,
    )


@contextmanager
def tf32_matrices(allowed: bool) -> Iterator[None]:
    """Whether float32 matrices are multiplied in TF32 on GPUs, while the context lasts."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
