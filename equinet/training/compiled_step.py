"""Energies, forces and virials of a training step as one compiled graph with the plain step's gradients."""

import torch
from torch import Tensor
from torch.fx import GraphModule

from equinet.graph import AtomicGraph
from equinet.models import Potential, Prediction
from equinet.models.tracing import trace


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
