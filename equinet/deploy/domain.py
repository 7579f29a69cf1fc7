"""The form of a potential that simulation programs run which divide space among processes: atoms, and ghosts of others.

A process owns atoms and sees ghosts within one cutoff of them: copies of atoms that other processes own, or periodic
images of its own. There is no cell: ghosts are where they are seen. Forces on ghosts are parts of the forces on their
owners, to be added there. Features of ghosts are fetched between the layers (:mod:`equinet_kernels.ghosts`).
"""

from typing import List, NamedTuple, Tuple

import torch
from torch import Tensor, nn

from equinet.deploy.scripted import checked_numbers
from equinet.elements import SYMBOLS
from equinet.graph import AtomicGraph
from equinet.models import Potential
from equinet.models.potential import by_positions
from equinet_kernels import UVUConv, edge_topology, observe, script, with_ghosts


class DomainPotential(nn.Module):
    """A potential of owned atoms and ghosts.

    Args:
        potential: of one level of theory, in eval mode.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        frozen = potential.frozen()
        frozen.model = with_ghosts(frozen.model)
        self.potential = frozen
        self.kind = "lammps"
        self.cutoff = potential.cutoff
        self.species = potential.species
        self.elements = [SYMBOLS[number] for number in potential.species]
        element = 8 if potential.dtype == torch.float64 else 4
        # a host's buffers must hold the widest rows that layers exchange, in units of 8 bytes
        convolutions = [module for module in frozen.model.modules() if isinstance(module, UVUConv)]
        self.exchanged = max(-(-conv.x_dim * element // 8) for conv in convolutions)
        self.exchanges_back = 0
        self.exchanges_back = self._count_exchanges_back()

    species: List[int]
    elements: List[str]

    def forward(
        self, positions: Tensor, numbers: Tensor, senders: Tensor, receivers: Tensor, owned: int, moments: bool
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies of N owned atoms, and their derivatives by the positions of N atoms and G ghosts.

        Args:
            positions: [N + G, 3] float64 Angstrom, ghosts last.
            numbers: [N + G] int64 atomic numbers.
            senders: [E] int64, of every pair closer than the cutoff whose receiver is owned.
            receivers: [E] int64, below N, ascending.
            owned: N.
            moments: whether the last result is wanted, which costs three more backward passes.

        Returns:
            Energies [N] eV; forces [N + G, 3] eV/Angstrom; virial [3, 3] eV, of this process's edges; moments
            [N + G, 3, 3] eV, or [0, 3, 3].

            The moment of atom j is ``W_j = sum_i (r_i - r_j) (x) dE_i/dr_j`` over owned atoms i. Moments sum to the
            virial, and ``sum_j W_j v_j`` is the heat flux of the interactions, exact for any number of layers (Langer
            et al., Phys. Rev. B 108, L100302 (2023)). Where the host adds those of ghosts to their owners it must, in
            the backward passes of the moments, account for the ghosts' displacements (``lammps/pair_equinet.cpp``).
        """
        positions = positions.detach().requires_grad_(True)
        atoms, edges = positions.shape[0], senders.shape[0]
        topology = edge_topology(senders, receivers, atoms)
        cell = positions.new_zeros(1, 3, 3)
        batch = senders.new_zeros(atoms)
        images = senders.new_zeros(edges, 3)
        vectors = self.potential.edge_vectors(positions, cell, batch, images, topology)
        numbers = checked_numbers(numbers, self.species)
        members, _ = self.potential.from_vectors(vectors, numbers, topology, owned, None)
        # a coordinate that is no number must reach the energy, see Potential
        energies = members.mean(dim=0) + 0.0 * positions.detach().narrow(0, 0, owned).sum(dim=1)  # [N]
        gradient = by_positions(energies.sum(), positions, moments)
        forces = -gradient
        virial = positions.detach().transpose(0, 1) @ forces  # [3, 3]
        moment = positions.new_zeros(0, 3, 3)
        if moments:
            fixed = positions.detach()
            rows: List[Tensor] = []
            for axis in range(3):
                weighted = (energies * fixed.narrow(0, 0, owned).select(1, axis)).sum()
                rows.append(by_positions(weighted, positions, axis < 2))
            moment = torch.stack(rows, dim=1) - fixed.unsqueeze(2) * gradient.unsqueeze(1)
        return energies.detach(), forces, virial, moment

    @torch.jit.unused
    def _count_exchanges_back(self) -> int:
        """How often ghosts give gradients back in a backward pass: in the first layer nothing depends on positions."""
        positions = torch.zeros(2, 3, dtype=torch.float64)
        positions[1, 0] = 0.5 * self.cutoff
        ends = torch.tensor([0, 1])
        with observe() as ran:
            self(positions, torch.tensor(self.species[:1] * 2), ends.flip(0), ends, 2, False)
        return ran["ghost_rows_backward", "torch"]


class Domain(NamedTuple):
    """A structure as one process sees it."""

    positions: Tensor  # [N + G, 3]
    numbers: Tensor  # [N + G]
    senders: Tensor  # [E]
    receivers: Tensor  # [E]
    owners: Tensor  # [G] atom that each ghost is an image of


def as_domain(graph: AtomicGraph) -> Domain:
    """One structure with its periodic images as ghosts.

    Args:
        graph: one structure.
    """
    atoms = graph.positions.shape[0]
    keys = torch.cat([graph.senders.unsqueeze(1), graph.images], dim=1)  # [E, 4]
    outside = graph.images.abs().sum(1) > 0
    ghosts, number = torch.unique(keys[outside], dim=0, return_inverse=True)  # [G, 4]
    senders = graph.senders.clone()
    senders[outside] = atoms + number
    owners = ghosts[:, 0]
    displaced = graph.positions[owners] + ghosts[:, 1:].to(torch.float64) @ graph.cell[0]
    return Domain(
        torch.cat([graph.positions, displaced]),
        torch.cat([graph.numbers, graph.numbers[owners]]),
        senders,
        graph.receivers,
        owners,
    )


def domain_script(potential: Potential) -> torch.jit.ScriptModule:
    """Compile a potential of owned atoms and ghosts to TorchScript; it calls libequinet_ops.

    Raises:
        ValueError: a model without convolutions.
    """
    return script(DomainPotential(potential), library=True)
