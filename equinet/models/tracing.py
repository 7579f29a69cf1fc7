"""Energies and all their derivatives as one graph of torch's operators, for compilers that know no autograd.

``torch.autograd.grad`` inside a compiled function cannot be differentiated again, so energy and forces are traced into
one graph first. In that trace, what the backward pass saved may have passed through ``aten.detach`` (which tensors do
depends on torch's version): left there, it cuts second derivatives; losses stay right, gradients of weights are off by
per cents. It is taken out.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from equinet.graph import AtomicGraph, collate, split
from equinet.models.potential import Prediction


class Traceable(Protocol):
    """A potential, or what wraps one."""

    def differentiated(self, graph: AtomicGraph, modal: Tensor | None) -> Prediction:
        """Energies and their derivatives."""


class _Differentiated(nn.Module):
    """The potential without the checks that look at values, as a function of tensors."""

    def __init__(self, potential: Traceable) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        fields = len(AtomicGraph._fields)
        modal = tensors[fields] if len(tensors) > fields else None
        return tuple(self.potential.differentiated(AtomicGraph(*tensors[:fields]), modal))


def trace(potential: Traceable, graph: AtomicGraph, modal: Tensor | None) -> GraphModule:
    """Operators of energies and their derivatives, for any numbers of structures, atoms and edges.

    Args:
        potential: in training mode where its weights are to be differentiated by, else in eval mode.
        graph: an example.
        modal: of its structures, where there are several levels of theory.
    """
    graph, modal = _with_distinct_sizes(graph, modal)
    inputs = [*graph, *([] if modal is None else [modal])]
    traced = make_fx(_Differentiated(potential), tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
    for node in list(traced.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _with_distinct_sizes(graph: AtomicGraph, modal: Tensor | None) -> tuple[AtomicGraph, Tensor | None]:
    """Repeat the example until no two sizes that vary are equal: tracing takes equal sizes for the same size."""
    singles = split(graph)
    modals = [0] * len(singles) if modal is None else modal.tolist()
    chosen: list[int] = []
    sizes: list[int] = []
    number = 0
    while len(chosen) < 5 or len({*sizes, 3}) < len(sizes) + 1:
        chosen.append(number % len(singles))
        number += 1
        several = [singles[i] for i in chosen]
        sizes = [len(several), sum(len(g.numbers) for g in several), sum(len(g.senders) for g in several)]
        if len(chosen) > 5 + 8 * len(singles):
            raise ValueError("no batch of these structures has numbers of structures, atoms and edges that differ")
    together = collate(several)
    return together, None if modal is None else modal.new_tensor([modals[i] for i in chosen])
