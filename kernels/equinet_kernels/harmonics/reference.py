"""Real spherical harmonics in plain torch, by coupling: Y_{l+1} is the top component of Y_l x Y_1."""

import torch
from torch import Tensor

from equinet_kernels.basis import clebsch_gordan


def coupling_tables(l_max: int) -> Tensor:
    """Constants of the recursion, flattened and joined: for each l < l_max a matrix [(2l + 1) 3, 2l + 3], float64.

    The coupling (l, 1) -> l + 1 of two unit-norm harmonics is, up to a positive constant, the next harmonic; the
    constant follows from ``|Y_{l+1}|^2 = 2l + 3`` on any one direction.
    """
    direction = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    first = direction * 3**0.5
    y = torch.ones(1, dtype=torch.float64)
    tables = [torch.zeros(0, dtype=torch.float64)]
    for l in range(l_max):
        table = clebsch_gordan(l, 1, l + 1).reshape((2 * l + 1) * 3, 2 * l + 3)
        following = torch.outer(y, first).flatten() @ table
        scale = (2 * l + 3) ** 0.5 / following.norm()
        tables.append((table * scale).flatten())
        y = following * scale
    return torch.cat(tables)


def spherical_harmonics_reference(directions: Tensor, tables: Tensor, l_max: int) -> Tensor:
    """Y_0 .. Y_l_max of unit vectors, normalised to ``|Y_l|^2 = 2l + 1``.

    Args:
        directions: [E, 3], unit vectors.
        tables: from :func:`coupling_tables`, in the dtype of the directions.
        l_max: highest degree.

    Returns:
        [E, (l_max + 1)^2].
    """
    edges = directions.shape[0]
    first = directions * 3**0.5  # [E, 3]
    y = directions.new_ones([edges, 1])
    harmonics = [y]
    start = 0
    for l in range(l_max):
        rows, columns = (2 * l + 1) * 3, 2 * l + 3
        table = tables[start : start + rows * columns].view(rows, columns)
        start += rows * columns
        y = (y.unsqueeze(2) * first.unsqueeze(1)).reshape(edges, rows) @ table  # [E, 2l + 3]
        harmonics.append(y)
    return torch.cat(harmonics, dim=1)
