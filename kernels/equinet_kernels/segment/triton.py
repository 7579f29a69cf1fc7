"""Segment sums on a GPU, and their transpose. Every sum has one program and one order: no atomics."""

from math import prod

import triton
import triton.language as tl
from torch import Tensor

from equinet_kernels.launch import blocks, launch

TILE = 1024
"""Numbers that a program holds: rows times columns."""
WIDEST = 128
"""Columns of a tile, at most."""
HALVINGS = 32
"""Of a number of segments, until one is left."""


@triton.jit
def _segment_sum(
    values: tl.tensor, row_ptr: tl.tensor, out: tl.tensor, columns: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> None:
    segment = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    end = tl.load(row_ptr + segment + 1)
    sums = tl.zeros([ROWS, COLUMNS], values.dtype.element_ty)
    for start in tl.range(tl.load(row_ptr + segment), end, ROWS):
        row = start + tl.arange(0, ROWS)
        here = (row < end)[:, None] & inside[None, :]
        sums += tl.load(values + row[:, None] * columns + column[None, :], here, 0.0)
    tl.store(out + segment * columns + column, tl.sum(sums, 0), inside)


@triton.jit
def _segment_gather(
    values: tl.tensor, row_ptr: tl.tensor, out: tl.tensor,
    columns: tl.tensor, segments: tl.tensor, rows: tl.tensor,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HALVINGS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.zeros([ROWS], tl.int64)  # row_ptr[first] <= row < row_ptr[last], for every row there is
    last = first + segments
    for _ in tl.range(HALVINGS):
        middle = (first + last) // 2
        below = tl.load(row_ptr + middle) <= row
        first = tl.where(below, middle, first)
        last = tl.where(below, last, middle)
    here = (row < rows)[:, None] & (column < columns)[None, :]
    tile = tl.load(values + first[:, None] * columns + column[None, :], here, 0.0)
    tl.store(out + row[:, None] * columns + column[None, :], tile, here)


def _tile(values: Tensor) -> tuple[int, dict[str, int]]:
    """Numbers in a row, and the tile to take them in."""
    columns = prod(values.shape[1:])
    width = min(WIDEST, triton.next_power_of_2(max(1, columns)))
    return columns, {"ROWS": TILE // width, "COLUMNS": width, "num_warps": 4}


def segment_sum(values: Tensor, row_ptr: Tensor) -> Tensor:
    """values [E, ...], row_ptr [S + 1] -> [S, ...]. All contiguous, on a GPU."""
    segments = row_ptr.shape[0] - 1
    columns, tile = _tile(values)
    out = values.new_empty([segments, *values.shape[1:]])
    grid = segments, blocks(columns, tile["COLUMNS"])
    launch(_segment_sum, grid, (values, row_ptr, out), columns, **tile)
    return out


def segment_gather(values: Tensor, row_ptr: Tensor, rows: int) -> Tensor:
    """values [S, ...], row_ptr [S + 1] -> [rows, ...]. All contiguous, on a GPU."""
    columns, tile = _tile(values)
    out = values.new_empty([rows, *values.shape[1:]])
    grid = blocks(rows, tile["ROWS"]), blocks(columns, tile["COLUMNS"])
    sizes = columns, row_ptr.shape[0] - 1, rows
    launch(_segment_gather, grid, (values, row_ptr, out), *sizes, HALVINGS=HALVINGS, **tile)
    return out
