"""How rows of a layout turn under O(3), in float64 to the last digits.

e3nn's own Wigner matrices are exponentials of float32 generators, wrong by 1e-6; these are solved from its spherical
harmonics, which are not.
"""

import torch
from e3nn import o3
from torch import Tensor

from equinet_kernels import Layout


def random_rotation(seed: int, determinant: int = 1) -> Tensor:
    """A random matrix of O(3), [3, 3] float64, with determinant 1 (rotation) or -1 (with inversion)."""
    random = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rotation, _ = torch.linalg.qr(random)
    return rotation * (determinant * torch.linalg.det(rotation).sign())


def wigner_matrix(l: int, p: int, rotation: Tensor) -> Tensor:
    """The matrix D [2l + 1, 2l + 1] of (l, p): ``Y(R v) = D Y(v)``, times p where R inverts."""
    sign = torch.linalg.det(rotation).sign()
    vectors = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def harmonics(v: Tensor) -> Tensor:
        return o3.spherical_harmonics(l, v, normalize=True, normalization="component")

    proper = torch.linalg.lstsq(harmonics(vectors), harmonics(vectors @ (sign * rotation).T)).solution.T
    return proper if sign > 0 else p * proper


def representation(layout: Layout, rotation: Tensor) -> Tensor:
    """The matrix D [dim, dim] that turns a column of the layout; blocks are [2l + 1, C], channels contiguous."""
    blocks = [
        torch.kron(wigner_matrix(block.l, block.p, rotation), torch.eye(block.channels, dtype=torch.float64))
        for block in layout
    ]
    return torch.block_diag(*blocks)


def turned(rows: Tensor, layout: Layout, rotation: Tensor) -> Tensor:
    """Rows [N, dim], each turned."""
    return rows @ representation(layout, rotation).T
