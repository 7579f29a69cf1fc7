"""Several potentials of one shape evaluated at once: copies of a graph, one for each, in one forward and one backward.

Members are to the network what levels of theory are: an atom's modal says which references are its own, and here every
weight has a leading dimension too. Atoms of one member lie side by side, so that linear maps are batched products
(:func:`equinet.nn.linear.matmul`); everything else sees nothing but a larger batch of structures.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from equinet.graph import AtomicGraph, collate, num_graphs
from equinet.models.adaptation import merged
from equinet.models.nequip import NequIPArchitecture
from equinet.models.potential import Potential, Prediction
from equinet.nn import is_adapted


def obstacle(members: Sequence[Potential]) -> str:
    """What keeps potentials from being evaluated at once; nothing where they differ in numbers alone: weights,
    references, mean numbers of neighbours."""
    if any(member.modals for member in members):
        return "they know several levels of theory"
    if not all(isinstance(member.architecture, NequIPArchitecture) for member in members):
        return "compiled models have tables of their own"
    if any(_form(member) != _form(members[0]) for member in members):
        return "they differ in architecture, elements, options, precision or device"
    return ""


def _form(potential: Potential) -> tuple[object, ...]:
    """What must agree."""
    architecture = potential.architecture
    assert isinstance(architecture, NequIPArchitecture)
    options = potential.subtract_isolated, potential.zbl is not None, potential.dtype, potential.scale.device
    return replace(architecture, mean_neighbors=None), potential.species, *options


class StackedPotentials:
    """Potentials as one. It has their weights as they are now; what becomes of them later makes no difference.

    Args:
        members: between whom there is no :func:`obstacle`.
    """

    def __init__(self, members: Sequence[Potential]) -> None:
        singles = [(merged(member) if is_adapted(member) else member).frozen() for member in members]
        stack = singles[0].frozen()
        networks: list[Any] = [single.model for single in singles]
        first: Any = stack.model
        for network in networks:
            # what messages are divided by is a constant of a layer: where it differs, the weights after it make up
            for layer, of_first in zip(network.layers, first.layers, strict=True):
                for weight in layer.linear_out.weights:
                    weight *= layer.norm / of_first.norm
        for name, parameter in first.named_parameters():
            parameter.data = torch.stack([network.get_parameter(name) for network in networks])
        for name in ("reference_energies", "scale", "shift"):
            setattr(stack, name, torch.stack([getattr(single, name) for single in singles]))
        stack.modals = [str(number) for number in range(len(singles))]
        stack.freeze_isolated_atoms()
        self._stack = stack
        self._no_directions = torch.zeros(0, sum(weight.numel() for weight in networks[0].last.weights))

    def __call__(self, graph: AtomicGraph) -> tuple[list[Prediction], Tensor]:
        """Predict a batch with each member.

        Returns:
            Predictions in the order of the members, and the first one's derivatives of atom energies by its last
            weights, [N, F] float64 eV.

        Raises:
            InputError: an element the potentials do not know.
        """
        members = len(self._stack.modals)
        member = torch.arange(members, device=graph.batch.device).repeat_interleave(num_graphs(graph))
        copies = collate([graph] * members)
        together, derivatives = self._stack.with_readout_derivatives(copies, self._no_directions, member)
        parts = {name: values.chunk(members) for name, values in together._asdict().items()}
        parts["member_energies"] = together.member_energies.chunk(members, dim=1)
        predictions = [Prediction(*part) for part in zip(*parts.values(), strict=True)]
        return predictions, derivatives.features[: len(graph.numbers)]
