"""Uncertainty from several models that were trained apart: how far they are from each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.graph import AtomicGraph, volumes
from equinet.models import Potential, Prediction
from equinet.uncertainty.last_layer import readout_width
from equinet.uncertainty.source import Spread


class Committee:
    """Means and variances over members; neighbours are searched once for all, with the largest cutoff.

    Args:
        members: two or more, in eval mode on one device.

    Raises:
        InputError: fewer than two; elements or cutoffs that differ.
    """

    kind = "committee"
    features_fixed = False

    def __init__(self, members: Sequence[Potential]) -> None:
        if len(members) < 2:
            raise InputError("a committee needs two models at least")
        first = members[0]
        for member in members[1:]:
            if member.species != first.species or member.cutoff != first.cutoff:
                raise InputError("the members of a committee must have the same elements and the same cutoff")
        self.members = tuple(members)

    @property
    def potentials(self) -> Sequence[Potential]:
        """The members."""
        return self.members

    @property
    def freedom(self) -> float:
        """Of a variance estimated from so many members."""
        return len(self.members) - 1.0

    def __call__(self, graph: AtomicGraph) -> Spread:
        """Predict a batch: means over the members, and their variances (divided by the number of members less one)."""
        none = graph.positions.new_zeros(0, readout_width(self.members[0]))
        first, derivatives = self.members[0].with_readout_derivatives(graph, none)
        predictions = [first, *(member(graph) for member in self.members[1:])]
        energy, energy_variance = _moments([each.energy for each in predictions])
        forces, forces_variance = _moments([each.forces for each in predictions])
        virial, virial_variance = _moments([each.virial for each in predictions])
        volume = volumes(graph).view(-1, 1, 1)
        mean = Prediction(
            energy,
            torch.stack([each.atom_energies for each in predictions]).mean(dim=0),
            forces,
            virial,
            -virial / volume,
            first.features,
            torch.stack([each.energy for each in predictions]),
        )
        stress_variance = (virial_variance / volume.square()).mean(dim=(1, 2))
        return Spread(mean, energy_variance, forces_variance.mean(dim=1), stress_variance, derivatives.features)


def _moments(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    stacked = torch.stack(list(values))
    return stacked.mean(dim=0), stacked.var(dim=0, correction=1)
