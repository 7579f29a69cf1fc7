"""Exponential moving average of the weights: smoother than the last step, and what is validated and saved.

The average is a second copy of the model inside the training module, so that it travels with every checkpoint and a
resumed run continues it exactly; nothing is swapped in or out.
"""

import copy

import torch
from torch import Tensor, nn

from equinet.errors import InputError
from equinet.training.processes import own_part


class ExponentialAverage(nn.Module):
    """A copy of ``model`` whose floating-point weights follow average = d * average + (1 - d) * weight.

    Early on the decay is ``min(decay, (1 + n) / (10 + n))`` after n updates, so that the random start is forgotten.

    Args:
        model: the model to follow; it is copied.
        decay: of the average, between 0 and 1; about ``1 - 1 / (number of steps averaged over)``.

    Raises:
        InputError: if the decay is outside [0, 1).
    """

    updates: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise InputError(f"model.ema_decay is {decay}; it must be at least 0 and below 1 (0.99 is usual), or null")
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` after an optimiser step."""
        updates = int(self.updates)
        decay = min(self.decay, (1 + updates) / (10 + updates))
        averages, weights = (list(map(own_part, part.parameters())) for part in (self.model, model))
        torch._foreach_lerp_(averages, weights, 1.0 - decay)
        self.updates += 1
