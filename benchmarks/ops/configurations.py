"""The convolutions that are measured: layers of published models, and a table that covers what such models do."""

from dataclasses import dataclass

from equinet_kernels import ConvSpec, Layout


@dataclass(frozen=True)
class Configuration:
    """One layer of a model."""

    name: str
    spec: ConvSpec
    y_parity: int  # -1: harmonics have parity (-1)^l; +1: parity is ignored
    about: str


def _evens(l_max: int) -> list[tuple[int, int]]:
    return [(l, 1) for l in range(l_max + 1)]


def _natural(l_max: int) -> list[tuple[int, int]]:
    return [(l, (-1) ** l) for l in range(l_max + 1)]


def _both(l_max: int) -> list[tuple[int, int]]:
    return [(l, p) for l in range(l_max + 1) for p in (1, -1)]


def _configuration(
    name: str, x: str, l_max: int, targets: list[tuple[int, int]], about: str, y_parity: int = -1
) -> Configuration:
    return Configuration(name, ConvSpec.all_paths(Layout.parse(x), l_max, targets, y_parity), y_parity, about)


MODELS = (
    _configuration("SevenNet-0", "128x0e+64x1e+32x2e", 2, _evens(2), "middle layer, parity ignored", y_parity=1),
    # irreps as in the checkpoint's own sevenn/presets/sevennet-l3i5.yaml
    _configuration(
        "SevenNet-l3i5", "128x0e+64x1e+32x2e+32x3e", 3, _evens(3), "middle layer, parity ignored", y_parity=1
    ),
    _configuration("MACE-2", "128x0e+128x1o", 3, _natural(3), "second layer, L = 1; H of the table"),
    _configuration("NequIP-64", "64x0e+64x0o+64x1e+64x1o+64x2e+64x2o", 2, _both(2), "both parities, 64 channels"),
)
"""What is measured unless asked otherwise."""

TABLE = (
    _configuration("A", "128x0e+128x1e+128x2e", 2, _evens(2), "NequIP, parity ignored", y_parity=1),
    _configuration("B", "128x0e+128x1o+128x2e", 2, _natural(2), "NequIP, natural parity"),
    _configuration("C", "128x0e+128x0o+128x1e+128x1o+128x2e+128x2o", 2, _both(2), "NequIP, both parities"),
    _configuration("D", "128x0e+128x1o+128x2e", 3, _natural(2), "B with harmonics to l = 3"),
    _configuration("E", "128x0e+128x1o+128x2e+128x3o", 3, _natural(3), "l = 3, natural parity"),
    _configuration("F", "128x0e+128x1e+128x2e+128x3e", 3, _evens(3), "l = 3, parity ignored", y_parity=1),
    _configuration("G", "128x0e", 3, _natural(3), "MACE, first layer"),
    _configuration("I", "128x0e+128x1o+128x2e", 3, _natural(3), "MACE, second layer, L = 2"),
)
"""The table: degrees, parities and channels one at a time. Its H is ``MACE-2``."""
