"""Running errors over an epoch: sums and counts, so that an uneven last batch or rank counts for what it is."""

import math

import torch
import torch.distributed as distributed
from torch import Tensor

from equinet.training.losses import LossScales, LossWeights, Residuals
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

_ENERGY, _FORCES, _STRESS = 0, 1, 2
_COUNT, _ABSOLUTE, _SQUARED = 0, 1, 2


class ErrorSums:
    """Count, sum of absolute and sum of squared errors of energy per atom, force and stress components."""

    def __init__(self) -> None:
        self.sums = torch.zeros(3, 3, dtype=torch.float64)  # [quantity, (count, absolute, squared)]

    def reset(self) -> None:
        """Forget everything."""
        self.sums = torch.zeros_like(self.sums)

    def update(self, errors: Residuals) -> None:
        """Add one batch (errors are zero where there is no label)."""
        rows = []
        for error, labelled in (
            (errors.energy, errors.has_energy),
            (errors.forces, errors.has_forces),
            (errors.stress, errors.has_stress),
        ):
            error = error.detach().double()
            components = error[0].numel() if error.shape[0] else 1
            count = (labelled.sum() * components).double()
            rows.append(torch.stack([count, error.abs().sum(), error.square().sum()]))
        self.sums = self.sums.to(rows[0].device) + torch.stack(rows)

    def total(self) -> Tensor:
        """Sums over all ranks, [3, 3] on the CPU."""
        sums = self.sums.clone()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        return sums.cpu()

    def compute(self) -> dict[str, float]:
        """MAE and RMSE of what was labelled, in meV/atom, meV/A, GPa and meV/A^3 (the unit is in the key)."""
        sums = self.total()
        values: dict[str, float] = {}
        for quantity, name, factor, unit in (
            (_ENERGY, "energy", MEV_PER_EV, "mev_per_atom"),
            (_FORCES, "force", MEV_PER_EV, "mev_per_angstrom"),
            (_STRESS, "stress", EV_PER_A3_IN_GPA, "gpa"),
            (_STRESS, "stress", MEV_PER_EV, "mev_per_a3"),
        ):
            count = float(sums[quantity, _COUNT])
            if count:
                values[f"{name}_mae_{unit}"] = factor * float(sums[quantity, _ABSOLUTE]) / count
                values[f"{name}_rmse_{unit}"] = factor * math.sqrt(float(sums[quantity, _SQUARED]) / count)
        return values

    def loss(self, weights: LossWeights, scales: LossScales) -> float:
        """The loss of everything added so far, as if it had been one batch."""
        sums = self.total()
        loss = 0.0
        for quantity, weight, scale in (
            (_ENERGY, weights.energy, scales.energy),
            (_FORCES, weights.forces, scales.forces),
            (_STRESS, weights.stress, scales.stress),
        ):
            count = float(sums[quantity, _COUNT])
            if count:
                loss += weight * float(sums[quantity, _SQUARED]) / count / scale**2
        return loss
