"""Energies, forces and virials of a training step as one compiled graph, whose gradients are those of the plain step.

``torch.autograd.grad`` inside a compiled function cannot be differentiated again, so energy and forces are traced into
one graph of operators first. In that trace, what the backward pass saved may have passed through ``aten.detach`` (which
tensors do depends on torch's version): left there, it cuts second derivatives; losses stay right, gradients of weights
are off by per cents. It is taken out before torch compiles the graph.
"""

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from equinet.graph import AtomicGraph, collate, split
from equinet.models import Potential, Prediction


class CompiledPotential:
    """Called as a potential in training mode is; compiles at the first call, which takes a minute or more.

    Args:
        potential: its parameters are used, not copied. In training mode, on its device, when first called.
        backend: of ``torch.compile``; "inductor" writes and compiles code.
    """

    def __init__(self, potential: Potential, backend: str = "inductor") -> None:
        self.potential = potential
        self.backend = backend
        self._compiled: GraphModule | None = None

    def __call__(self, graph: AtomicGraph, modal: Tensor | None = None) -> Prediction:
        """Predict, such that energies, forces and virials can be differentiated by the parameters."""
        if self._compiled is None:
            traced = trace(self.potential, graph, modal)
            self._compiled = torch.compile(traced, dynamic=True, backend=self.backend)  # type: ignore[assignment]
        assert self._compiled is not None
        self.potential.check_elements(graph.numbers)
        return Prediction(*self._compiled(*graph, *([] if modal is None else [modal])))


class _Differentiated(nn.Module):
    """The potential without the checks that look at values, as a function of tensors."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        fields = len(AtomicGraph._fields)
        modal = tensors[fields] if len(tensors) > fields else None
        return tuple(self.potential.differentiated(AtomicGraph(*tensors[:fields]), modal))


def trace(potential: Potential, graph: AtomicGraph, modal: Tensor | None) -> GraphModule:
    """Operators of energies and their derivatives, for any numbers of structures, atoms and edges.

    Args:
        potential: in training mode.
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
