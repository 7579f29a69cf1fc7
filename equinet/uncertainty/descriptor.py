"""Structures as points: how far two are from each other, as the model sees them."""

import numpy as np
import torch
from torch import Tensor

from equinet.graph import AtomicGraph, atoms_per_graph
from equinet.uncertainty.support import Support

WIDEST = 512
"""Numbers that describe a structure at most; above, they are drawn to so many at random, which hardly changes
distances (Johnson and Lindenstrauss): 10^5 structures take 0.2 GB."""


class StructureDescriptor:
    """Whitened features, added up over the atoms of each element: a row for each structure.

    The rows are divided by the square root of the number of atoms, as energies are where they are calibrated, and by
    that of the number of features: structures of the training data are about one apart. Elements count apart, so that
    an environment of one does not cancel against that of another.

    Args:
        support: whose features are whitened.
        seed: of the random directions, where there are too many numbers.
    """

    def __init__(self, support: Support, seed: int = 0) -> None:
        self.support = support
        self._species, self._features = support.means.shape
        self.width = min(self._species * self._features, WIDEST)
        """D."""
        self._sketch: Tensor | None = None
        if self._species * self._features > WIDEST:
            rng = np.random.default_rng(seed)
            directions = rng.normal(size=(self._species * self._features, WIDEST)) / WIDEST**0.5
            self._sketch = torch.from_numpy(directions).to(support.means.device)

    def __call__(self, features: Tensor, species: Tensor, graph: AtomicGraph) -> Tensor:
        """[B, D] float32 on the CPU, from features [N, F] and species [N] of a batch."""
        whitened = self.support.whitened(features, species)
        count = len(graph.cell)
        sums = whitened.new_zeros(count * self._species, self._features)
        sums.index_add_(0, graph.batch * self._species + species, whitened)
        rows = sums.view(count, -1) / (self._features * atoms_per_graph(graph).unsqueeze(1)).sqrt()
        if self._sketch is not None:
            rows = rows @ self._sketch
        return rows.to("cpu", torch.float32)


def distances_to(rows: Tensor, others: Tensor) -> Tensor:
    """[n] of rows [n, D] to the nearest of others [m, D], as differences: equal rows are exactly 0 apart."""
    nearest = rows.new_full((len(rows),), float("inf"))
    for part in others.split(1000) if len(others) else ():
        apart = torch.cdist(rows, part, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = torch.minimum(nearest, apart.amin(dim=1))
    return nearest
