"""Low-rank adaptation of linear maps (Hu et al., arXiv:2106.09685): few weights to train, the trained ones kept.

Each matrix W of an equivariant linear map becomes W + (alpha / rank) A B, with A and B for each irreducible
representation, so that the map stays equivariant. B is zero at first: an adapted model is the model it was made from.
What changes is the list that a linear map takes its matrices from; the map itself knows nothing of it, and merging puts
back a list as it was built. TorchScript wants that list: merge first.
"""

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from equinet.errors import DataWarning
from equinet.nn.linear import EquivariantLinear, SpeciesLinear


class LowRankMatrices(nn.Module):
    """In place of a linear map's list of matrices: each with an update that is trained, itself frozen.

    Entries of A are drawn from N(0, 1 / rank): a step of Adam on B then moves a matrix by about as much as a step on
    the matrix itself would, whatever the rank. The rank is bounded by both numbers of channels. Leading dimensions of a
    matrix (species) have updates of their own.

    Args:
        matrices: [..., C in, C out] each.
        rank: of the updates.
        scale: what they are multiplied by.
    """

    def __init__(self, matrices: nn.ParameterList, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.matrices = matrices.requires_grad_(False)
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for matrix in matrices:
            *leading, rows, columns = matrix.shape
            own = min(rank, rows, columns)
            a = torch.randn(*leading, rows, own, dtype=matrix.dtype, device=matrix.device)
            # an output that no input reaches has no matrix, and nothing to train
            self.a.append(nn.Parameter(a / math.sqrt(max(own, 1)), requires_grad=own > 0))
            self.b.append(nn.Parameter(matrix.new_zeros(*leading, own, columns), requires_grad=own > 0))

    def __len__(self) -> int:
        return len(self.matrices)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the matrices as they are used."""
        for matrix, a, b in zip(self.matrices, self.a, self.b, strict=True):
            yield matrix + self.scale * (a @ b)


def add_low_rank_updates(module: nn.Module, rank: int, alpha: float | None = None) -> int:
    """Adapt every equivariant linear map in a module, in place; a map whose matrices are frozen stays as it is.

    The matrices themselves are frozen; biases, and everything that is no equivariant linear map, are left alone.

    Args:
        module: not adapted yet.
        rank: of each update, at least 1; no more than the widest map has channels, with a warning.
        alpha: updates are multiplied by alpha / rank; None: by 1.

    Returns:
        How many linear maps are adapted.

    Raises:
        ValueError: a rank below 1, or a module that is adapted already.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be at least 1")
    if is_adapted(module):
        raise ValueError("the module has low-rank updates already; merge them first")
    maps = [linear for linear in _linear_maps(module) if any(w.requires_grad and w.numel() for w in linear.weights)]
    highest = max((min(weight.shape[-2:]) for linear in maps for weight in linear.weights), default=rank)
    if rank > highest:
        warnings.warn(
            f"a rank of {rank} is more than the linear maps have: {highest} is used, with which their updates are of "
            "full rank",
            DataWarning,
        )
        rank = highest
    scale = 1.0 if alpha is None else alpha / rank
    for linear in maps:
        linear.weights = LowRankMatrices(linear.weights, rank, scale)  # type: ignore[assignment]
    return len(maps)


def merge_low_rank_updates(module: nn.Module) -> None:
    """Add the updates to their matrices, in place: what is left is an ordinary module of the same function."""
    for linear in _linear_maps(module):
        if isinstance(linear.weights, LowRankMatrices):
            linear.weights = nn.ParameterList(nn.Parameter(matrix.detach()) for matrix in linear.weights)


def is_adapted(module: nn.Module) -> bool:
    """Whether any linear map in the module has low-rank updates."""
    return any(isinstance(part, LowRankMatrices) for part in module.modules())


def _linear_maps(module: nn.Module) -> list[EquivariantLinear | SpeciesLinear]:
    return [part for part in module.modules() if isinstance(part, (EquivariantLinear, SpeciesLinear))]
