"""What each program of a kernel does: which paths, which channels, and where their numbers stand in a row.

A program owns one receiver, one group of paths that share a block of x, and one tile of that block's channels. It walks
along the receiver's edges and keeps the receiver's values of these paths in registers. That is what limits a group.
"""

from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple

from equinet_kernels.spec import ConvSpec, Path

# What there is to turn, with a GPU and a clock. Chosen without, from the machine code that Triton makes for Hopper: in
# float32 the layers of SevenNet and MACE spill nothing, and an edge's loads are under way before the first is used.

THREADS = 32
"""Threads of a program. One warp: sums over channels are shuffles, and no program ever waits at a barrier."""

REGISTERS = 104
"""32-bit registers of a thread for the receiver's values. It has 255; the others hold x, W, Y, B and addresses. With
half as many, tiles are half as wide, B is built twice as often, and twice as many programs run at a time."""

WIDEST_TILE = 128
"""Channels of a program at most: four float32 for each thread, one load of 16 bytes."""

WIDEST_SUM = 512
"""Columns of a program that sums rows of dx, at most: four loads of 16 bytes under way for each thread."""

STAGES = 1
"""Edges under way in the loop along a receiver's edges. From 2 on, Triton fetches x and W ahead into shared memory (5
kB a program at 2, for 128 channels). At 1, the other programs of a multiprocessor, 8 to 16, are to fill the gaps."""


class Level(Enum):
    """How often the convolution has been differentiated."""

    FORWARD = "forward"
    BACKWARD = "backward"
    DOUBLE_BACKWARD = "double_backward"

    @property
    def receiver_values(self) -> int:
        """Values that a receiver has for each output component and channel: out; g; or g and its gradient."""
        return 2 if self is Level.DOUBLE_BACKWARD else 1

    @property
    def cost_of_a_group(self) -> int:
        """Multiply-adds in the time that one more group takes for each component of x: it loads x again and, except in
        forward, writes a part of dx that is read again."""
        return 10 if self is Level.FORWARD else 60


class Group(NamedTuple):
    """Paths that a program computes together, and the tiles that cover their channels."""

    block: int  # of x
    paths: tuple[int, ...]  # numbers in spec.paths
    width: int  # channels of a tile, a power of two; the last tile may reach beyond the block
    tiles: int
    first_tile: int  # counted over all groups
    edge_column: int  # where this group's part of dx starts in an edge's row


class Run(NamedTuple):
    """Neighbouring columns of x whose gradients are summed alike: ``copies`` groups have a part for them."""

    column: int
    width: int
    edge_column: int  # of the first part in an edge's row; the others follow it
    copies: int


class Plan(NamedTuple):
    """The work of one kernel."""

    groups: tuple[Group, ...]
    runs: tuple[Run, ...]

    @property
    def tiles(self) -> int:
        """Programs of a receiver."""
        return sum(group.tiles for group in self.groups)

    @property
    def edge_width(self) -> int:
        """Columns of an edge's row of dx: x's own, more than once where the paths of a block form several groups."""
        return sum(run.width * run.copies for run in self.runs)


Parts = tuple[tuple[int, ...], ...]
"""The paths of a block of x, divided into groups."""


def make_plan(spec: ConvSpec, level: Level, itemsize: int) -> Plan:
    """Divide the work of a kernel.

    Args:
        spec: paths and layouts.
        level: which kernel.
        itemsize: bytes of a number, 4 or 8.
    """
    groups: list[Group] = []
    runs: list[Run] = []
    tile = edge_column = 0
    for i, (column, block) in enumerate(zip(spec.x.offsets, spec.x, strict=True)):
        width, parts = min(_divisions(spec, i, level, itemsize), key=lambda division: _cost(spec, i, level, *division))
        if runs and runs[-1].copies == len(parts) == 1:
            runs[-1] = runs[-1]._replace(width=runs[-1].width + block.dim)
        else:
            runs.append(Run(column, block.dim, edge_column, len(parts)))
        for paths in parts:
            tiles = _ceil(block.channels, width)
            groups.append(Group(i, paths, width, tiles, tile, edge_column))
            tile += tiles
            edge_column += block.dim
    return Plan(tuple(groups), tuple(runs))


def _divisions(spec: ConvSpec, i: int, level: Level, itemsize: int) -> Iterator[tuple[int, Parts]]:
    """For each width of a tile the fewest groups, in order, of block i's paths that fit into the registers."""
    numbers = [p for p, path in enumerate(spec.paths) if path.i == i]
    for width in (2**n for n in range(WIDEST_TILE.bit_length())):
        if width > 1 and width >= 2 * spec.x[i].channels:
            break
        registers = _channels_of_a_thread(width) * level.receiver_values * itemsize // 4
        parts: list[tuple[int, ...]] = []
        room = 0
        for p in numbers:
            need = registers * (2 * spec.paths[p].l3 + 1)
            if need > room:
                parts.append(())
                room = REGISTERS
            parts[-1] += (p,)
            room -= need
        yield width, tuple(parts)


def _cost(spec: ConvSpec, i: int, level: Level, width: int, parts: Parts) -> tuple[int, int]:
    """Multiply-adds of a thread for one edge, roughly; of two equal divisions the one with the narrower tile is taken.

    A thread builds B once, whatever its channels, and multiplies with it for each of them.
    """
    channels = _channels_of_a_thread(width)
    products = sum(len(couplings(spec, spec.paths[p])) for paths in parts for p in paths)
    groups = len(parts) * (2 * spec.x[i].l + 1) * level.cost_of_a_group
    return _ceil(spec.x[i].channels, width) * (products + channels * (products + groups)), width


def _channels_of_a_thread(width: int) -> int:
    return max(1, width // THREADS)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


class Coupling(NamedTuple):
    """One coupling constant C_ijk that is not zero."""

    i: int
    j: int  # counted over the harmonics of all degrees
    k: int
    constant: float


@cache
def couplings(spec: ConvSpec, path: Path) -> tuple[Coupling, ...]:
    """All coupling constants of a path that are not zero.

    Rounded to 15 places, far below any tolerance, so that what should be equal is equal, and zero is zero.
    """
    constants = spec.coupling(path)
    return tuple(
        Coupling(i, path.l2**2 + j, k, round(float(constants[i, j, k]), 15))
        for i, j, k in (constants.abs() > 1e-12).nonzero().tolist()
    )


def weight_columns(spec: ConvSpec) -> list[int]:
    """For each path the column of its first weight."""
    channels = [spec.x[path.i].channels for path in spec.paths]
    return [sum(channels[:p]) for p in range(len(channels))]


def output_columns(spec: ConvSpec) -> list[list[int]]:
    """For each path and component of its result the column of channel 0; paths of one (l3, p3) stand side by side."""
    starts = {block[1:]: start for start, block in zip(spec.out.offsets, spec.out, strict=True)}
    widths = {block[1:]: block.channels for block in spec.out}
    columns = []
    for path in spec.paths:
        irrep = (path.l3, path.p3)
        columns.append([starts[irrep] + k * widths[irrep] for k in range(2 * path.l3 + 1)])
        starts[irrep] += spec.x[path.i].channels
    return columns
