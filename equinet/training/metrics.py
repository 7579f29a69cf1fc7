"""Running errors over an epoch: sums and counts, so that an uneven last batch or rank counts for what it is."""

import math

import torch
import torch.distributed as distributed
from torch import Tensor

from equinet.training.losses import Residuals, TermWeights, weighted
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

_ENERGY, _FORCES, _STRESS = 0, 1, 2
_COUNT, _ABSOLUTE, _SQUARED, _PENALTY = 0, 1, 2, 3
_COMPONENTS = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)


class ErrorSums:
    """Errors of energy per atom, force and stress components, and the penalties of the loss.

    ``sums`` [quantity, (count of components, absolute, squared, penalty)] are those of this process.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(3, 4, dtype=torch.float64)

    def reset(self) -> None:
        """Forget everything."""
        self.sums = torch.zeros_like(self.sums)

    def update(self, errors: Residuals, penalties: Tensor) -> None:
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
        added = torch.cat([torch.stack(rows), penalties.detach().double()[:, None]], dim=1)
        self.sums = self.sums.to(added.device) + added

    def total(self) -> Tensor:
        """Sums over all processes, [3, 4] on the CPU."""
        sums = self.sums.clone()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        return sums.cpu()

    def gather(self) -> Tensor:
        """Sums of each process, [processes, 3, 4] on the CPU."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self.sums.cpu()[None].clone()
        parts = [torch.zeros_like(self.sums) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, self.sums)
        return torch.stack(parts).cpu()

    def scatter(self, parts: Tensor) -> None:
        """Take back what :meth:`gather` gave, also where the number of processes has changed."""
        rank, processes = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            rank, processes = distributed.get_rank(), distributed.get_world_size()
        if len(parts) != processes:
            parts = torch.cat([parts.sum(dim=0, keepdim=True), parts.new_zeros(processes - 1, *parts.shape[1:])])
        self.sums = parts[rank].clone()

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

    def loss(self, weights: TermWeights) -> float:
        """The loss of everything added so far, as if it had been one batch."""
        sums = self.total()
        return float(weighted(weights, sums[:, _PENALTY], sums[:, _COUNT] / _COMPONENTS).sum())
