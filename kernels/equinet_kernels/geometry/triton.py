"""Edge vectors on a GPU, and their transpose: an atom's sums have one program and one order, without atomics."""

import triton
import triton.language as tl
from torch import Tensor

from equinet_kernels.launch import blocks, launch
from equinet_kernels.segment.triton import segment_sum
from equinet_kernels.topology import EdgeTopology, row_pointers

EDGES = 128
"""Of a program that makes vectors: one for each thread."""
NEIGHBORS = 32
"""Edges of an atom that a program adds at a time: one for each thread."""


@triton.jit
def _edge_vectors(
    positions: tl.tensor, cell: tl.tensor, batch: tl.tensor, images: tl.tensor,
    senders: tl.tensor, receivers: tl.tensor, vectors: tl.tensor, edges: tl.tensor, EDGES: tl.constexpr,
) -> None:  # fmt: skip
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    here = e < edges
    sender, receiver = tl.load(senders + e, here, 0), tl.load(receivers + e, here, 0)
    rows = cell + tl.load(batch + receiver, here, 0) * 9
    dtype = positions.dtype.element_ty
    a = tl.load(images + e * 3, here, 0).to(dtype)
    b = tl.load(images + e * 3 + 1, here, 0).to(dtype)
    c = tl.load(images + e * 3 + 2, here, 0).to(dtype)
    for k in tl.static_range(3):
        difference = tl.load(positions + sender * 3 + k, here, 0.0) - tl.load(positions + receiver * 3 + k, here, 0.0)
        translation = a * tl.load(rows + k, here, 0.0) + b * tl.load(rows + (3 + k), here, 0.0)
        translation += c * tl.load(rows + (6 + k), here, 0.0)
        tl.store(vectors + e * 3 + k, difference + translation, here)


@triton.jit
def _sum_over_edges(
    g: tl.tensor, images: tl.tensor, row_ptr: tl.tensor, sender_perm: tl.tensor, sender_ptr: tl.tensor,
    d_positions: tl.tensor, d_cells: tl.tensor, NEIGHBORS: tl.constexpr,
) -> None:  # fmt: skip
    """For one atom, the gradient of its position, and the part of its structure's cell that it receives."""
    atom = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, NEIGHBORS)
    dtype = g.dtype.element_ty
    end = tl.load(sender_ptr + atom + 1)
    x, y, z = tl.zeros([NEIGHBORS], dtype), tl.zeros([NEIGHBORS], dtype), tl.zeros([NEIGHBORS], dtype)
    for start in tl.range(tl.load(sender_ptr + atom), end, NEIGHBORS):
        here = start + lane < end
        row = g + tl.load(sender_perm + start + lane, here, 0) * 3
        x += tl.load(row, here, 0.0)
        y += tl.load(row + 1, here, 0.0)
        z += tl.load(row + 2, here, 0.0)
    begin, end = tl.load(row_ptr + atom), tl.load(row_ptr + atom + 1)
    for start in tl.range(begin, end, NEIGHBORS):
        here = start + lane < end
        row = g + (start + lane) * 3
        x -= tl.load(row, here, 0.0)
        y -= tl.load(row + 1, here, 0.0)
        z -= tl.load(row + 2, here, 0.0)
    tl.store(d_positions + atom * 3, tl.sum(x, 0))
    tl.store(d_positions + atom * 3 + 1, tl.sum(y, 0))
    tl.store(d_positions + atom * 3 + 2, tl.sum(z, 0))
    for j in tl.static_range(3):
        x, y, z = tl.zeros([NEIGHBORS], dtype), tl.zeros([NEIGHBORS], dtype), tl.zeros([NEIGHBORS], dtype)
        for start in tl.range(begin, end, NEIGHBORS):
            here = start + lane < end
            row = g + (start + lane) * 3
            image = tl.load(images + (start + lane) * 3 + j, here, 0).to(dtype)
            x += image * tl.load(row, here, 0.0)
            y += image * tl.load(row + 1, here, 0.0)
            z += image * tl.load(row + 2, here, 0.0)
        tl.store(d_cells + atom * 9 + j * 3, tl.sum(x, 0))
        tl.store(d_cells + atom * 9 + (j * 3 + 1), tl.sum(y, 0))
        tl.store(d_cells + atom * 9 + (j * 3 + 2), tl.sum(z, 0))


def forward(positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, topology: EdgeTopology) -> Tensor:
    """positions [N, 3], cell [B, 3, 3] -> [E, 3]. All contiguous, on a GPU."""
    edges = images.shape[0]
    vectors = positions.new_empty(edges, 3)
    tensors = positions, cell, batch, images, topology.senders, topology.receivers, vectors
    launch(_edge_vectors, (blocks(edges, EDGES),), tensors, edges, EDGES=EDGES, num_warps=EDGES // 32)
    return vectors


def backward(
    g: Tensor, structures: int, batch: Tensor, images: Tensor, topology: EdgeTopology
) -> tuple[Tensor, Tensor]:
    """Gradients of positions and cell, given g, that of the result."""
    atoms = batch.shape[0]
    d_positions, d_cells = g.new_empty(atoms, 3), g.new_empty(atoms, 3, 3)
    tensors = g, images, topology.row_ptr, topology.sender_perm, topology.sender_ptr, d_positions, d_cells
    launch(_sum_over_edges, (atoms,), tensors, NEIGHBORS=NEIGHBORS, num_warps=NEIGHBORS // 32)
    return d_positions, segment_sum(d_cells, row_pointers(batch, structures))
