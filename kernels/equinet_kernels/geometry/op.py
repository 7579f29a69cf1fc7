"""The edge vector operator."""

import torch
from torch import Tensor

from equinet_kernels.dispatch import choose, record
from equinet_kernels.geometry import registration  # noqa: F401 (defines torch.ops.equinet.edge_vectors)
from equinet_kernels.geometry.reference import edge_vectors_reference
from equinet_kernels.operator import Operator
from equinet_kernels.topology import EdgeTopology


def edge_vectors(positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology) -> Tensor:
    """``positions[sender] + images @ cell - positions[receiver]``, linear in positions and cell.

    The topology is what the gradients need: forces and virial are then sums in a fixed order, without atomics.

    Args:
        positions: [N, 3].
        cell: [B, 3, 3], rows are lattice vectors.
        batch: [N] int64, structure of each atom, non-decreasing.
        images: [E, 3] int64, lattice translations of the senders.
        topology: of the E edges between the N atoms.

    Returns:
        [E, 3] in the dtype of the positions.

    Raises:
        ValueError: dtypes, shapes or devices that do not fit; a graph that is none (on a GPU while debugging only).
    """
    if choose("edge_vectors", positions.device.type)[0] != "reference":
        vectors: Tensor = torch.ops.equinet.edge_vectors(positions, cell, batch, images, *topology)
        return vectors
    record("edge_vectors", "reference")
    return edge_vectors_reference(positions, cell, batch, images, topology.senders, topology.receivers)


class EdgeVectors(Operator):
    """:func:`edge_vectors` as a module."""

    operator = "edge_vectors"

    def forward(self, positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology) -> Tensor:
        """positions [N, 3], cell [B, 3, 3], batch [N], images [E, 3] -> [E, 3]."""
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.edge_vectors(positions, cell, batch, images, *topology)
                return scripted
            return edge_vectors_reference(positions, cell, batch, images, topology.senders, topology.receivers)
        return edge_vectors(positions, cell, batch, images, topology)
