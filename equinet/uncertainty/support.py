"""Whether an atom's environment is one that the training data have: distances between features."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

QUANTILE = 0.999
"""Of held-out atoms of its element, so many are nearer to the training data than an atom of support 1."""
FLOOR = 1e-4
"""Added to each variance of the features, relative to their mean: what hardly varies in training says little."""
REFERENCES = 500
"""Atoms of each element that are kept to measure distances to."""


@dataclass(frozen=True)
class Support:
    """Mahalanobis distances of features from the training atoms of the same element, in units of held-out ones.

    Attributes:
        means: [S, F] of the features of each species.
        whiteners: [S, F, F]; the distance is ``|whitener (x - mean)|``.
        limits: [S], the distance that QUANTILE of the held-out atoms stay below; NaN where training has no such atom.
        references: [n, F] whitened features of some training atoms.
        reference_species: [n] int64.
    """

    means: Tensor
    whiteners: Tensor
    limits: Tensor
    references: Tensor
    reference_species: Tensor

    def whitened(self, features: Tensor, species: Tensor) -> Tensor:
        """[N, F] from features [N, F] and species [N]."""
        centred = features - self.means[species]
        result = torch.empty_like(centred)
        for each in species.unique().tolist():  # one matrix for each species, not one for each atom
            chosen = species == each
            result[chosen] = centred[chosen] @ self.whiteners[each].T
        return result

    def distances(self, features: Tensor, species: Tensor) -> Tensor:
        """[N] from features [N, F] and species [N]; infinite for species without training atoms."""
        distances = self.whitened(features, species).norm(dim=1)
        return torch.where(self.limits[species].isnan(), float("inf"), distances)

    def scores(self, distances: Tensor, species: Tensor) -> Tensor:
        """[N] from distances [N] and species [N]: above 1 outside the training data."""
        return torch.where(distances.isinf(), distances, distances / self.limits[species])

    def nearest(self, features: Tensor, species: Tensor) -> Tensor:
        """[N] whitened distance to the nearest reference of the same species; infinite where there is none."""
        whitened = self.whitened(features, species)
        nearest = torch.full_like(whitened[:, 0], float("inf"))
        for each in species.unique().tolist():
            chosen, others = species == each, self.references[self.reference_species == each]
            if len(others):
                nearest[chosen] = torch.cdist(whitened[chosen], others).amin(dim=1)
        return nearest

    def to(self, device: torch.device) -> "Support":
        """On another device."""
        return Support(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class FeatureMoments:
    """Means and covariances of features by species, summed batch by batch, and a random choice of atoms.

    Args:
        species: S.
        width: F.
        seed: of the choice.
    """

    def __init__(self, species: int, width: int, seed: int = 0) -> None:
        self._counts = torch.zeros(species, dtype=torch.float64)
        self._sums = torch.zeros(species, width, dtype=torch.float64)
        self._squares = torch.zeros(species, width, width, dtype=torch.float64)
        self._origin: Tensor | None = None  # near the mean: squares of what is left lose no digits
        self._kept: list[list[tuple[float, Tensor]]] = [[] for _ in range(species)]
        self._random = np.random.default_rng(seed)

    def add(self, features: Tensor, species: Tensor) -> None:
        """Features [N, F] of atoms of species [N]."""
        features, species = features.cpu(), species.cpu()
        if self._origin is None:
            self._origin = features.mean(dim=0)
        for each in species.unique().tolist():
            rows = features[species == each]
            shifted = rows - self._origin
            self._counts[each] += len(rows)
            self._sums[each] += shifted.sum(dim=0)
            self._squares[each] += shifted.T @ shifted
            keys = self._random.random(len(rows))
            kept = self._kept[each] + list(zip(keys.tolist(), rows, strict=True))
            self._kept[each] = sorted(kept, key=lambda pair: pair[0])[:REFERENCES]

    def support(self) -> Support:
        """With limits of one: see :func:`with_limits`."""
        assert self._origin is not None
        counts = self._counts.clamp(min=1.0).unsqueeze(1)
        means = self._sums / counts
        covariances = self._squares / counts.unsqueeze(2) - means.unsqueeze(2) * means.unsqueeze(1)
        values, vectors = torch.linalg.eigh(covariances)
        values = values.clamp(min=0.0)
        # an element with a single environment has no variance at all: that of all elements stands in
        scale = values.mean(dim=1, keepdim=True)
        everywhere = float(scale[self._counts > 0].mean()) or 1.0
        floor = FLOOR * torch.where(scale > FLOOR * everywhere, scale, torch.full_like(scale, everywhere))
        whiteners = (vectors / (values + floor).sqrt().unsqueeze(1)).transpose(1, 2).contiguous()
        limits = torch.where(self._counts > 0, 1.0, float("nan")).to(torch.float64)
        kept = [row for rows in self._kept for _, row in rows]
        reference_species = torch.tensor([s for s, rows in enumerate(self._kept) for _ in rows], dtype=torch.int64)
        support = Support(means + self._origin, whiteners, limits, torch.stack(kept), reference_species)
        return Support(
            support.means,
            whiteners,
            limits,
            support.whitened(support.references, reference_species),
            reference_species,
        )


def with_limits(support: Support, distances: Tensor, species: Tensor) -> Support:
    """The support whose unit is what held-out atoms show.

    Args:
        support: with any limits.
        distances: [N] of held-out atoms.
        species: [N] of them. Species without any take the largest limit of the others.
    """
    limits = support.limits.clone()
    finite = distances.isfinite()
    for each in species[finite].unique().tolist():
        limits[each] = float(np.quantile(distances[finite & (species == each)].cpu().numpy(), QUANTILE))
    seen = torch.zeros_like(limits, dtype=torch.bool)
    seen[species[finite]] = True
    limits[~seen & ~limits.isnan()] = limits[seen].max() if seen.any() else 1.0
    return Support(support.means, support.whiteners, limits, support.references, support.reference_species)
