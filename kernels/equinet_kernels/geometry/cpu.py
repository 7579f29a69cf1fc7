"""Edge vectors by the compiled library (``csrc/cpu``), and their transpose."""

from torch import Tensor

from equinet_kernels import native
from equinet_kernels.topology import EdgeTopology


def _edges(
    numbers: Tensor, structures: int, batch: Tensor, images: Tensor, topology: EdgeTopology
) -> tuple[object, ...]:
    sizes = batch.shape[0], images.shape[0], structures
    indices = topology.senders, topology.receivers, topology.row_ptr, batch, images
    return numbers.dtype, *map(native.Rows, sizes), *indices


def forward(positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology) -> Tensor:
    """positions [N, 3], cell [B, 3, 3] -> [E, 3]. All contiguous, on the CPU."""
    vectors = positions.new_empty(images.shape[0], 3)
    native.call("edge_vectors", *_edges(cell, cell.shape[0], batch, images, topology), positions, cell, vectors)
    return vectors


def backward(
    g: Tensor, structures: int, batch: Tensor, images: Tensor, topology: EdgeTopology
) -> tuple[Tensor, Tensor]:
    """Gradients of positions and cell, given g, that of the result."""
    d_positions, d_cell = g.new_empty(batch.shape[0], 3), g.new_empty(structures, 3, 3)
    by_sender = topology.sender_perm, topology.sender_ptr
    arguments = *_edges(g, structures, batch, images, topology), *by_sender, g, d_positions, d_cell
    native.call("edge_vectors_backward", *arguments)
    return d_positions, d_cell
