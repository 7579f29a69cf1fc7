"""Irreducible representations of O(3): how features are laid out, and the constants that couple them.

Values only, no modules. Conventions: real basis, components of l ordered m = -l..l with the y axis as polar axis, so
that l = 1 is (x, y, z); harmonics normalised to ``|Y_l|^2 = 2l + 1``. These are e3nn's conventions (0.5 and later),
computed here from their definitions and compared with e3nn in the tests.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """``channels`` copies of the irreducible representation (l, p): a matrix [2l + 1, channels], channels
    contiguous."""

    channels: int
    l: int
    p: int  # parity, +1 (e) or -1 (o)

    @property
    def dim(self) -> int:
        """Number of values, (2l + 1) channels."""
        return (2 * self.l + 1) * self.channels


class Layout(tuple[Block, ...]):
    """Blocks of one flat feature row [dim], in order; written like ``64x0e+32x1o``.

    Raises:
        ValueError: an irreducible representation (l, p) occurs twice, or a block has no channels.
    """

    __slots__ = ()

    def __new__(cls, blocks: Iterable[Block] = ()) -> "Layout":
        """Check and keep the blocks."""
        layout = super().__new__(cls, tuple(blocks))
        if len({block[1:] for block in layout}) != len(layout):
            raise ValueError(f"an irreducible representation occurs twice in {layout}; merge its channels")
        if any(block.channels < 1 for block in layout):
            raise ValueError(f"a block has no channels in {layout}; leave it out")
        return layout

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read ``64x0e+32x1o``.

        Raises:
            ValueError: the text is not of that form, or describes no valid layout.
        """
        blocks = []
        for term in text.split("+"):
            channels, _, irrep = term.strip().partition("x")
            if not channels.isdigit() or irrep[-1:] not in ("e", "o") or not irrep[:-1].isdigit():
                raise ValueError(f"not a layout: {text!r}; write terms like 64x0e+32x1o")
            blocks.append(Block(int(channels), int(irrep[:-1]), 1 if irrep[-1] == "e" else -1))
        return cls(blocks)

    def __str__(self) -> str:
        return "+".join(f"{c}x{l}{'e' if p == 1 else 'o'}" for c, l, p in self)

    @property
    def dim(self) -> int:
        """Length of a row."""
        return sum(block.dim for block in self)

    @property
    def offsets(self) -> list[int]:
        """Where each block starts in a row."""
        starts, total = [], 0
        for block in self:
            starts.append(total)
            total += block.dim
        return starts


def _su2_clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> float:
    """<j1 m1 j2 m2 | j3 m3> by Racah's formula (Racah, Phys. Rev. 62, 438 (1942)), in exact integers to the last
    root."""
    if m1 + m2 != m3:
        return 0.0
    f = math.factorial
    prefactor = (2 * j3 + 1) * f(j3 + j1 - j2) * f(j3 - j1 + j2) * f(j1 + j2 - j3)
    prefactor *= f(j3 + m3) * f(j3 - m3) * f(j1 - m1) * f(j1 + m1) * f(j2 - m2) * f(j2 + m2)
    total = 0.0
    for k in range(max(0, j2 - j3 - m1, j1 - j3 + m2), min(j1 + j2 - j3, j1 - m1, j2 + m2) + 1):
        denominator = f(k) * f(j1 + j2 - j3 - k) * f(j1 - m1 - k) * f(j2 + m2 - k)
        denominator *= f(j3 - j2 + m1 + k) * f(j3 - j1 - m2 + k)
        total += (-1) ** k / denominator
    return math.sqrt(prefactor / f(j1 + j2 + j3 + 1)) * total


def _real_to_complex(l: int) -> Tensor:
    """Unitary [2l + 1 complex m, 2l + 1 real m]; the phase (-i)^l makes the coupling constants real."""
    q = torch.zeros(2 * l + 1, 2 * l + 1, dtype=torch.complex128)
    root = math.sqrt(0.5)
    q[l, l] = 1.0
    for m in range(1, l + 1):
        sign = (-1) ** m
        q.real[l - m, l + m] = root
        q.imag[l - m, l - m] = -root
        q.real[l + m, l + m] = sign * root
        q.imag[l + m, l - m] = sign * root
    return (-1j) ** l * q


@cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    """Real coupling constants of (l1, l2) -> l3, normalised to unit Frobenius norm (Wigner 3j symbols up to sign).

    Returns:
        [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] float64. Shared: do not write to it.

    Raises:
        ValueError: if the triangle rule forbids the coupling.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"no coupling ({l1}, {l2}) -> {l3}: |l1 - l2| <= l3 <= l1 + l2 does not hold")
    table = torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.complex128)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l3:
                table[l1 + m1, l2 + m2, l3 + m1 + m2] = _su2_clebsch_gordan(l1, m1, l2, m2, l3, m1 + m2)
    q1, q2, q3 = (_real_to_complex(l) for l in (l1, l2, l3))
    real = torch.einsum("ai,bj,ck,abc->ijk", q1, q2, q3.conj(), table)
    assert real.imag.abs().max() < 1e-12
    return real.real / real.real.norm()
