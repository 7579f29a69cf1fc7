"""How many atoms move at once: what a GPU's memory holds, or what stays in a CPU's caches."""

from collections.abc import Sequence

import torch
from ase import Atoms

from equinet.data import graph_from_atoms
from equinet.models import Potential
from equinet.models.capacity import fitting_limits

CPU_ATOMS = 1024
"""Atoms in a batch on a CPU, unless the user says."""
SAMPLE = 256
"""Structures at most on which memory is measured."""


def atoms_at_once(potential: Potential, structures: Sequence[Atoms]) -> int:
    """Atoms that may be in a batch.

    Args:
        potential: on its device.
        structures: all of them; those with most neighbours may be met anywhere, so the sample is spread over all.

    Raises:
        InputError: the system does not say what memory there is; a structure the potential cannot take.
    """
    device = torch.device(potential.scale.device)
    if device.type == "cpu":
        return CPU_ATOMS
    stride = max(1, len(structures) // SAMPLE)
    graphs = [graph_from_atoms(atoms, potential.cutoff) for atoms in structures[::stride]]
    limits = fitting_limits(potential, graphs, [device])
    densest = max(len(graph.senders) / len(graph.numbers) for graph in graphs)
    return max(1, min(limits.atoms, int(limits.edges / max(densest, 1.0))))
