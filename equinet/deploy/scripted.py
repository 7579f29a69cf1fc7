"""The TorchScript form of a potential: tensors in, a table of tensors out, and what a host asks of it as attributes.

``torch.jit`` is deprecated since torch 2.9 or so, and works in every version that equinet supports. AOTInductor
(:mod:`equinet.deploy.aoti`) is what follows it.
"""

from typing import Dict, List, Optional

import torch
from torch import Tensor, nn

from equinet.elements import SYMBOLS
from equinet.graph import AtomicGraph
from equinet.models import Potential
from equinet_kernels import script


class ScriptedPotential(nn.Module):
    """A potential of plain tensors, as TorchScript and C++ call it.

    Args:
        potential: frozen, in eval mode.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.kind = "torchscript"
        self.cutoff = potential.cutoff
        self.species = potential.species
        self.modals = potential.modals
        self.elements = [SYMBOLS[number] for number in potential.species]

    species: List[int]
    modals: List[str]
    elements: List[str]

    @torch.jit.export
    def atomic_number(self, symbol: str) -> int:
        """The atomic number of an element that the potential knows.

        Raises:
            ValueError: it does not know it.
        """
        for number, element in zip(self.species, self.elements):  # noqa: B905 TorchScript knows no strict
            if element == symbol:
                return number
        raise ValueError("the potential does not know the element " + symbol)

    def forward(
        self,
        positions: Tensor,
        numbers: Tensor,
        cell: Tensor,
        pbc: Tensor,
        batch: Tensor,
        senders: Tensor,
        receivers: Tensor,
        images: Tensor,
        modal: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """Energies and their derivatives of B structures with N atoms and E edges.

        Args:
            positions: [N, 3] Angstrom.
            numbers: [N] atomic numbers.
            cell: [B, 3, 3] Angstrom, rows are lattice vectors, zero along open directions.
            pbc: [B, 3] bool.
            batch: [N] structure of each atom, ascending.
            senders: [E], of every pair of atoms closer than the cutoff, in both directions.
            receivers: [E].
            images: [E, 3] lattice translations of the senders.
            modal: [B] level of theory, where the potential knows several.

        Returns:
            All float64: energy [B] eV, atom_energies [N] eV, forces [N, 3] eV/Angstrom, virial [B, 3, 3] eV
            (-dE/dstrain), stress [B, 3, 3] eV/Angstrom^3 (tension positive; NaN unless periodic in three directions).

        Raises:
            RuntimeError: an element that the potential does not know; a modal too many or too few.
        """
        graph = by_receivers(
            AtomicGraph(
                positions.to(torch.float64),
                checked_numbers(numbers, self.species),
                cell.to(torch.float64),
                pbc.to(torch.bool),
                batch.to(torch.int64),
                senders.to(torch.int64),
                receivers.to(torch.int64),
                images.to(torch.int64),
            )
        )
        if (modal is None) != (len(self.modals) == 0):
            raise ValueError("give the argument modal exactly where the potential knows several levels of theory")
        prediction = self.potential.differentiated(graph, modal)
        return {
            "energy": prediction.energy,
            "atom_energies": prediction.atom_energies,
            "forces": prediction.forces,
            "virial": prediction.virial,
            "stress": prediction.stress,
        }


def by_receivers(graph: AtomicGraph) -> AtomicGraph:
    """A graph as it must be, from one whose edges come in any order: sums run along edges sorted by receiver."""
    order = torch.argsort(graph.receivers, stable=True)
    return AtomicGraph(
        graph.positions,
        graph.numbers,
        graph.cell,
        graph.pbc,
        graph.batch,
        graph.senders.index_select(0, order),
        graph.receivers.index_select(0, order),
        graph.images.index_select(0, order),
    )


def unknown_elements(species: List[int]) -> str:
    """What artefacts say of elements that they do not know."""
    return "the potential knows the atomic numbers " + str(species) + "; other elements are in this structure"


def checked_numbers(numbers: Tensor, species: List[int]) -> Tensor:
    """Atomic numbers as int64, once it is clear that the potential knows them (on a CPU: it would stop a GPU).

    Raises:
        ValueError: it does not know one.
    """
    numbers = numbers.to(torch.int64)
    if numbers.device.type == "cpu" and numbers.numel() > 0:
        if int(numbers.min()) < 1:
            raise ValueError(unknown_elements(species))
        known = torch.zeros(int(numbers.max()) + 1 + max(species), dtype=torch.bool)
        known[torch.tensor(species)] = True
        if not bool(known.index_select(0, numbers).all()):
            raise ValueError(unknown_elements(species))
    return numbers


def scripted(potential: Potential, library: bool) -> torch.jit.ScriptModule:
    """Compile a potential to TorchScript, gradients included.

    Args:
        potential: any, in eval mode.
        library: whether it calls libequinet_ops, or plain torch alone.
    """
    return script(ScriptedPotential(potential.frozen()), library)
