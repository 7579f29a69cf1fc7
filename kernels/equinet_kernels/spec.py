"""What an equivariant convolution computes: the one input of every implementation."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from equinet_kernels.basis import Block, Layout, clebsch_gordan

MAX_L = 6
"""Highest degree any operator has; larger ones would only be slow and untested."""


class Path(NamedTuple):
    """One coupling: block ``i`` of x with the harmonics of degree ``l2`` gives (``l3``, ``p3``)."""

    i: int
    l2: int
    l3: int
    p3: int


@dataclass(frozen=True)
class ConvSpec:
    """The coupling paths of a channel-wise ("uvu") convolution, and with them every size and offset.

    Paths are ordered by (i, l2, l3, p3): weights ``[E, sum_p C_p]`` follow that order. The output has one block per
    (l3, p3); paths that end there lie side by side in its channels, in path order, so that a linear map reads them
    without a copy.

    Raises:
        ValueError: no path, a path out of range or forbidden by the triangle rule, paths out of order or repeated.
    """

    x: Layout
    l_max: int  # harmonics run over l = 0..l_max
    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError(f"a convolution of {self.x} needs at least one path")
        if list(self.paths) != sorted(set(self.paths)):
            raise ValueError("paths must be unique and ordered by (block, l2, l3, p3)")
        for path in self.paths:
            if not (0 <= path.i < len(self.x) and 0 <= path.l2 <= self.l_max and abs(path.p3) == 1):
                raise ValueError(f"{path} is out of range for x = {self.x}, l_max = {self.l_max}")
            if not abs(self.x[path.i].l - path.l2) <= path.l3 <= self.x[path.i].l + path.l2:
                raise ValueError(f"{path} breaks the triangle rule: x block has l = {self.x[path.i].l}")
        if max(self.l_max, *(path.l3 for path in self.paths), *(block.l for block in self.x)) > MAX_L:
            raise ValueError(f"degrees above l = {MAX_L} are not supported")

    @classmethod
    def all_paths(cls, x: Layout, l_max: int, targets: list[tuple[int, int]], y_parity: int = -1) -> "ConvSpec":
        """Every path from ``x`` into the irreducible representations ``targets`` = [(l, p), ...].

        ``y_parity`` -1: harmonics have parity (-1)^l, as true vectors do; +1: parity is ignored (SO(3) features).
        """
        paths = [
            Path(i, l2, l3, p3)
            for i, block in enumerate(x)
            for l2 in range(l_max + 1)
            for l3, p3 in targets
            if abs(block.l - l2) <= l3 <= block.l + l2 and p3 == block.p * y_parity**l2
        ]
        return cls(x, l_max, tuple(sorted(paths)))

    def __str__(self) -> str:
        terms = ",".join(f"{i}.{l2}.{l3}{'e' if p3 == 1 else 'o'}" for i, l2, l3, p3 in self.paths)
        return f"uvu;x={self.x};l_max={self.l_max};paths={terms}"

    @classmethod
    def parse(cls, text: str) -> "ConvSpec":
        """Read the canonical string back.

        Raises:
            ValueError: if it is not one.
        """
        path_form = r"\d+\.\d+\.\d+[eo]"
        form = re.fullmatch(rf"uvu;x=([^;]+);l_max=(\d+);paths=({path_form}(?:,{path_form})*)", text)
        if form is None:
            raise ValueError(f"not a convolution spec: {text!r}")
        paths = []
        for term in form[3].split(","):
            i, l2, target = term.split(".")
            paths.append(Path(int(i), int(l2), int(target[:-1]), 1 if target[-1] == "e" else -1))
        return cls(Layout.parse(form[1]), int(form[2]), tuple(paths))

    @property
    def key(self) -> str:
        """Content hash, for caches of generated code."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    @cached_property
    def out(self) -> Layout:
        """Layout of the result: one block per (l, p), ordered by l, then parity."""
        channels: dict[tuple[int, int], int] = {}
        for path in self.paths:
            channels[path.l3, path.p3] = channels.get((path.l3, path.p3), 0) + self.x[path.i].channels
        return Layout(Block(channels[l, p], l, p) for l, p in sorted(channels))

    @cached_property
    def weight_dim(self) -> int:
        """Number of weights of an edge, sum_p C_p."""
        return sum(self.x[path.i].channels for path in self.paths)

    @property
    def y_dim(self) -> int:
        """Number of harmonics of an edge, (l_max + 1)^2."""
        return (self.l_max + 1) ** 2

    def coupling(self, path: Path) -> Tensor:
        """C of the path, [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] float64, scaled by sqrt(2 l3 + 1): unit variance goes to unit
        variance."""
        return clebsch_gordan(self.x[path.i].l, path.l2, path.l3) * (2 * path.l3 + 1) ** 0.5

    def coupling_of_block(self, i: int) -> Tensor:
        """All paths of block i as one matrix that maps Y to the stacked matrices B, [(l_max + 1)^2, K_i, 2 l1 + 1]
        float64.

        ``B[k, i] = sum_j C[i, j, k] Y[j]`` with k over the output components of the block's paths, in path order.
        """
        rows = []
        for path in self.paths:
            if path.i == i:
                row = torch.zeros(self.y_dim, 2 * path.l3 + 1, 2 * self.x[i].l + 1, dtype=torch.float64)
                row[path.l2**2 : (path.l2 + 1) ** 2] = self.coupling(path).permute(1, 2, 0)
                rows.append(row)
        return torch.cat(rows, dim=1)
