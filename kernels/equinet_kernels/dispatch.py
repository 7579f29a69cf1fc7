"""Which implementation of an operator runs, and why: never silent."""

from typing import NamedTuple

from torch import nn


class Choice(NamedTuple):
    """One operator of a model."""

    module: str  # where in the model
    operator: str
    implementation: str
    reason: str


def explain(model: nn.Module) -> list[Choice]:
    """Name the implementation of every operator in a model and the reason for it.

    Returns:
        One row per operator module, in the order of the model.
    """
    return [
        Choice(name, module.operator, "reference", "the only implementation in this version")
        for name, module in model.named_modules()
        if isinstance(getattr(module, "operator", None), str)
    ]
