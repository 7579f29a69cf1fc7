"""Edge vectors under periodic boundaries in plain torch."""

import torch
from torch import Tensor


def edge_vectors_reference(
    positions: Tensor, cell: Tensor, batch: Tensor, images: Tensor, senders: Tensor, receivers: Tensor
) -> Tensor:
    """``positions[sender] + images @ cell - positions[receiver]``.

    Args:
        positions: [N, 3].
        cell: [B, 3, 3], rows are lattice vectors.
        batch: [N] int64, structure of each atom.
        images: [E, 3] int64.
        senders: [E] int64.
        receivers: [E] int64.

    Returns:
        [E, 3] in the dtype of the positions.
    """
    edge_cells = cell.index_select(0, batch.index_select(0, receivers))  # [E, 3, 3]
    translations = torch.bmm(images.to(positions.dtype).unsqueeze(1), edge_cells).squeeze(1)  # [E, 3]
    return positions.index_select(0, senders) - positions.index_select(0, receivers) + translations
