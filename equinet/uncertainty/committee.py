"""Uncertainty from several models that were trained apart: how far they are from each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.graph import AtomicGraph, volumes
from equinet.models import Potential, Prediction
from equinet.models.inference import MAX_EDGES
from equinet.models.stacked import StackedPotentials, obstacle
from equinet.uncertainty.frames import fingerprint
from equinet.uncertainty.last_layer import readout_width
from equinet.uncertainty.source import Spread

CPU_EDGES = 10_000
"""Edges of a graph's copies, one for each member, above which a CPU evaluates members one by one: what does not fit
into its caches takes longer at once (``benchmarks/uncertainty/committee.py``: from about 12,000 edges on, with 24 or 32
channels). A GPU, which few edges leave idle, has the limit of every other batch."""


class Committee:
    """Means and variances over members, who are evaluated in one batched forward and backward.

    They are evaluated one by one, with the same results, where the graph's copies would have more edges than a batch
    may have (``CPU_EDGES`` on a CPU, elsewhere ``MAX_EDGES``), so that a committee takes no more memory than one of its
    members would; and whatever the graph where there is a reason ``apart``.

    Args:
        members: two or more, in eval mode on one device. Their weights are taken as they are now.
        names: of the members, as their files, for messages; None: their numbers, from 1.

    Attributes:
        apart: why members are always evaluated one by one (compiled models, several architectures); else empty.

    Raises:
        InputError: fewer than two; elements or cutoffs that differ; two that are the same model.
    """

    kind = "committee"
    features_fixed = False

    def __init__(self, members: Sequence[Potential], names: Sequence[str] | None = None) -> None:
        if len(members) < 2:
            raise InputError("a committee needs two models at least")
        _check_members(members, names or [f"member {number}" for number in range(1, len(members) + 1)])
        self.members = tuple(members)
        self.apart = obstacle(members)
        self._stack = None if self.apart else StackedPotentials(members)

    @property
    def potentials(self) -> Sequence[Potential]:
        """The members."""
        return self.members

    @property
    def freedom(self) -> float:
        """Of a variance estimated from so many members."""
        return len(self.members) - 1.0

    def of_each(self, graph: AtomicGraph) -> tuple[list[Prediction], Tensor]:
        """Predictions of the members for a batch, and features of the first.

        Returns:
            In the order of the members; the first's derivatives of atom energies by its last weights, [N, F] eV.
        """
        limit = CPU_EDGES if graph.senders.device.type == "cpu" else MAX_EDGES
        if self._stack is not None and len(self.members) * len(graph.senders) <= limit:
            return self._stack(graph)
        none = graph.positions.new_zeros(0, readout_width(self.members[0]))
        first, derivatives = self.members[0].with_readout_derivatives(graph, none)
        return [first, *(member(graph) for member in self.members[1:])], derivatives.features

    def __call__(self, graph: AtomicGraph) -> Spread:
        """Predict a batch: means over the members, and their variances (divided by the number of members less one)."""
        predictions, features = self.of_each(graph)
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
            predictions[0].features,
            torch.stack([each.energy for each in predictions]),
        )
        stress_variance = (virial_variance / volume.square()).mean(dim=(1, 2))
        return Spread(mean, energy_variance, forces_variance.mean(dim=1), stress_variance, features)


def _check_members(members: Sequence[Potential], names: Sequence[str]) -> None:
    """They describe the same atoms, and may disagree."""
    first, known = members[0], dict[str, int]()
    for number, (member, name) in enumerate(zip(members, names, strict=True)):
        if member.species != first.species or member.cutoff != first.cutoff:
            raise InputError(
                f"the members of a committee must have the same elements and the same cutoff; {name} and {names[0]} "
                "differ"
            )
        other = known.setdefault(fingerprint(member), number)
        if other != number:
            raise InputError(
                f"{names[other]} and {name} are the same model, which cannot disagree with itself; give models that "
                "were trained apart (equinet train --committee)"
            )


def _moments(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    stacked = torch.stack(list(values))
    return stacked.mean(dim=0), stacked.var(dim=0, correction=1)
