"""Writes the Triton source of a convolution's kernels: straight-line code with literal coefficients, a module a level.

Every number is written by one program, which adds in the order of the edges: no atomics, the same bits on every run.

A gradient by x belongs to senders, and the programs are receivers. They write a row for each edge, narrow beside what
stays in receiver order, and a second kernel adds the rows up, sender by sender. A gradient by y is a sum over channels,
which several programs share: each writes its part, and who calls the kernel adds the few parts in their order. One
program for all channels of a receiver would need no parts, but a small system has too few receivers to fill a GPU with
such programs, and the parts are but a few per cent of what an edge reads and writes.
"""

import torch

from equinet_kernels.conv.triton.group import ARGUMENTS, FORMULAS, GroupSource
from equinet_kernels.conv.triton.lines import Lines, plus, tile_columns
from equinet_kernels.conv.triton.plan import WIDEST_SUM, Level, Run, make_plan
from equinet_kernels.spec import ConvSpec

DTYPES = {torch.float32: "tl.float32", torch.float64: "tl.float64"}
"""What there are kernels for. Sums have the type of what they add."""

INTRODUCTION = """A program has one receiver, node, and one tile of the channels of a group of paths. It walks along the
receiver's edges e. x_i is component i of the sender's features, y_j a harmonic, w_p the weight of path p, C a path's
coupling constants, b_n an element of its matrix b_ik = sum_j C_ijk y_j; equal elements have one name. What is named
with a path, as g_p_k, belongs to the receiver."""


def write_source(spec: ConvSpec, level: Level, dtype: torch.dtype) -> str:
    """Source of the module of one level.

    It defines the kernel ``uvu_<level>`` and ``TILES``, its programs for each receiver. Where there is a gradient by x,
    also ``EDGE_WIDTH``, the columns of its row for an edge, the kernel ``uvu_sum_over_senders``, and ``SUM_TILES``,
    that one's programs for each sender.
    """
    plan = make_plan(spec, level, dtype.itemsize)
    lines = Lines(
        [
            f'"""{spec}',
            "",
            f"{level.value} in {DTYPES[dtype]}, written by equinet_kernels.conv.triton.",
            "",
            *INTRODUCTION.splitlines(),
            *FORMULAS[level].splitlines(),
            '"""',
            "",
            "import triton",
            "import triton.language as tl",
            "",
            f"TILES = {plan.tiles}",
        ]
    )
    with_sum = level is not Level.FORWARD
    if with_sum:
        lines += [f"EDGE_WIDTH = {plan.edge_width}", f"SUM_TILES = {sum(_sum_tiles(run) for run in plan.runs)}"]

    groups = [GroupSource(spec, level, DTYPES[dtype], plan, number) for number in range(len(plan.groups))]
    for group in groups:
        lines += ["", "", *group]
    calls = [(plan.groups[n].tiles, f"{group.name}({group.arguments})") for n, group in enumerate(groups)]
    _write_kernel(lines, f"uvu_{level.value}({ARGUMENTS[level]})", "row_ptr", calls)

    if with_sum:
        calls = []
        for number, run in enumerate(plan.runs):
            first_tile = sum(tiles for tiles, _ in calls)
            call = f"columns_{number}(edge_rows, sender_perm, rows, node, begin, end, tile)"
            _write_columns(lines, call, run, first_tile, plan.edge_width, spec.x.dim, DTYPES[dtype])
            calls.append((_sum_tiles(run), call))
        _write_kernel(lines, "uvu_sum_over_senders(edge_rows, sender_ptr, sender_perm, rows)", "sender_ptr", calls)
    return "\n".join(lines) + "\n"


def _write_kernel(lines: Lines, signature: str, pointers: str, calls: list[tuple[int, str]]) -> None:
    """A kernel over nodes (axis 0, which may be long) and tiles (axis 1): each call has its number of tiles."""
    lines += ["", "", "@triton.jit"]
    with lines.under(f"def {signature}:"):
        lines.add("node = tl.program_id(0).to(tl.int64)  # 64 bits, and with it every address")
        lines.add("tile = tl.program_id(1)")
        lines.add(f"begin = tl.load({pointers} + node)")
        lines.add(f"end = tl.load({pointers} + node + 1)")
        last_tile = 0
        for tiles, call in calls:
            last_tile += tiles
            with lines.under(f"{'if' if last_tile == tiles else 'elif'} tile < {last_tile}:"):
                lines.add(call)


def _write_columns(
    lines: Lines, signature: str, run: Run, first_tile: int, edge_width: int, node_width: int, dtype: str
) -> None:
    """A function that adds up, over the edges of a sender, what stands in their rows for some columns of x."""
    width = _sum_width(run)
    lines += ["", "", "@triton.jit"]
    with lines.under(f"def {signature}:"):
        lines.add(f'"""Columns {run.column} to {run.column + run.width - 1} of x."""')
        lines.add(f"c = {tile_columns(first_tile, _sum_tiles(run), width)}")
        lines.add(f"here = c < {run.width}")
        lines.add(f"total = tl.zeros([{width}], {dtype})")
        if run.copies:  # otherwise no path reads these columns, and their gradient is zero
            with lines.under("for n in tl.range(begin, end):"):
                lines.add(f"row = edge_rows + tl.load(sender_perm + n) * {edge_width}{plus(run.edge_column)} + c")
                for copy in range(run.copies):
                    lines.add(f"total += tl.load(row{plus(copy * run.width)}, here, 0.0)")
        lines.add(f"tl.store(rows + node * {node_width}{plus(run.column)} + c, total, here)")


def _sum_width(run: Run) -> int:
    """Columns of a program that sums: the power of two that covers the run, or as many as a program may take."""
    return min(WIDEST_SUM, 1 << (run.width - 1).bit_length())


def _sum_tiles(run: Run) -> int:
    return -(-run.width // _sum_width(run))
