"""The harmonics on a GPU: the formulas at the top of ``csrc/cpu/harmonics.cpp``, an edge in each lane.

Loops over degrees and orders are unrolled. Coefficients stand within the products that need them: a name for one would
make it a number of 32 bits.
"""

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from equinet_kernels.launch import blocks, launch

EDGES = 128
"""Of a program: one for each thread."""


@triton.constexpr_function
def _top(m: int) -> float:
    return math.sqrt(3 if m == 1 else (2 * m + 1) / (2 * m))


@triton.constexpr_function
def _a(l: int, m: int) -> float:
    return math.sqrt((4 * l * l - 1) / (l * l - m * m))


@triton.constexpr_function
def _b(l: int, m: int) -> float:
    return math.sqrt((2 * l + 1) * ((l - 1) ** 2 - m * m) / ((2 * l - 3) * (l * l - m * m)))


@triton.constexpr_function
def _polar(l: int, m: int) -> float:
    return math.sqrt((2 * l + 1) / (2 * l - 1) * (l * l - m * m))


@triton.constexpr_function
def _up(l: int, m: int) -> float:
    return math.sqrt((2 * l + 1) / (2 * l - 1) * (l + m + 1) * (l + m) / (2 if m == 0 else 4))


@triton.constexpr_function
def _down(l: int, m: int) -> float:
    return math.sqrt((2 * l + 1) / (2 * l - 1) * (l - m + 1) * (l - m) / (2 if m == 1 else 4))


@triton.jit
def _load(vectors: tl.tensor, e: tl.tensor, here: tl.tensor) -> tl.tuple:
    row = vectors + e * 3
    return tl.load(row, here, 0.0), tl.load(row + 1, here, 0.0), tl.load(row + 2, here, 0.0)


@triton.jit
def _store(vectors: tl.tensor, e: tl.tensor, here: tl.tensor, x: tl.tensor, y: tl.tensor, z: tl.tensor) -> None:
    row = vectors + e * 3
    tl.store(row, x, here)
    tl.store(row + 1, y, here)
    tl.store(row + 2, z, here)


@triton.jit
def _add_gradient(
    dx: tl.tensor, dy: tl.tensor, dz: tl.tensor, g: tl.tensor, here: tl.tensor,
    l: tl.constexpr, m: tl.constexpr, cosine: tl.tensor, sine: tl.tensor,
) -> tl.tuple:  # fmt: skip
    """Add the part of the gradient of <g, Y_l> that order m of Y_{l-1} gives."""
    row = g + (l * l + l)
    middle = tl.load(row + m, here, 0.0)
    up = tl.load(row + (m + 1), here, 0.0)
    up_sine = tl.load(row - (m + 1), here, 0.0)
    if m == 0:
        dy += _polar(l, m) * (middle * cosine)
        dz += _up(l, m) * (up * cosine)
        dx += _up(l, m) * (up_sine * cosine)
    else:
        middle_sine = tl.load(row - m, here, 0.0)
        dy += _polar(l, m) * (middle * cosine + middle_sine * sine)
        dz += _up(l, m) * (up * cosine + up_sine * sine)
        dx += _up(l, m) * (up_sine * cosine - up * sine)
        down = tl.load(row + (m - 1), here, 0.0)
        if m == 1:
            dz -= _down(l, m) * (down * cosine)
            dx -= _down(l, m) * (down * sine)
        else:
            down_sine = tl.load(row - (m - 1), here, 0.0)
            dz -= _down(l, m) * (down * cosine + down_sine * sine)
            dx += _down(l, m) * (down_sine * cosine - down * sine)
    return dx, dy, dz


@triton.jit
def _next(
    l: tl.constexpr, m: tl.constexpr, y: tl.tensor, square: tl.tensor, q: tl.tensor, before: tl.tensor
) -> tl.tensor:
    """q_l from q_{l-1} and q_{l-2}."""
    if l == m + 1:
        following = _a(l, m) * (y * q)
    else:
        following = _a(l, m) * (y * q) - _b(l, m) * (square * before)
    return following


@triton.jit
def _next_dot(
    l: tl.constexpr, m: tl.constexpr,
    y: tl.tensor, y_dot: tl.tensor, square: tl.tensor, square_dot: tl.tensor,
    q: tl.tensor, q_dot: tl.tensor, before: tl.tensor, before_dot: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """Its derivative along d_dot."""
    if l == m + 1:
        following = _a(l, m) * (y * q_dot + y_dot * q)
    else:
        following = _a(l, m) * (y * q_dot + y_dot * q) - _b(l, m) * (square * before_dot + square_dot * before)
    return following


@triton.jit
def _forward(directions: tl.tensor, y: tl.tensor, edges: tl.tensor, L_MAX: tl.constexpr, EDGES: tl.constexpr) -> None:
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    here = e < edges
    vx, vy, vz = _load(directions, e, here)
    square = vx * vx + vy * vy + vz * vz
    one = tl.full([EDGES], 1.0, vx.dtype)
    cosine, sine = one, tl.full([EDGES], 0.0, vx.dtype)
    for m in tl.static_range(L_MAX + 1):
        if m > 0:
            cosine, sine = _top(m) * (vz * cosine - vx * sine), _top(m) * (vz * sine + vx * cosine)
        q, before = one, one
        for l in tl.static_range(m, L_MAX + 1):
            if l > m:
                q, before = _next(l, m, vy, square, q, before), q
            row = y + e * ((L_MAX + 1) * (L_MAX + 1)) + (l * l + l)
            tl.store(row + m, q * cosine, here)
            if m > 0:
                tl.store(row - m, q * sine, here)


@triton.jit
def _backward(
    g: tl.tensor, directions: tl.tensor, d: tl.tensor, edges: tl.tensor, L_MAX: tl.constexpr, EDGES: tl.constexpr
) -> None:
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    here = e < edges
    vx, vy, vz = _load(directions, e, here)
    square = vx * vx + vy * vy + vz * vz
    one = tl.full([EDGES], 1.0, vx.dtype)
    zero = tl.full([EDGES], 0.0, vx.dtype)
    dx, dy, dz = zero, zero, zero
    row = g + e * ((L_MAX + 1) * (L_MAX + 1))
    cosine, sine = one, zero
    for m in tl.static_range(L_MAX):
        if m > 0:
            cosine, sine = _top(m) * (vz * cosine - vx * sine), _top(m) * (vz * sine + vx * cosine)
        q, before = one, one
        for l in tl.static_range(m, L_MAX):
            if l > m:
                q, before = _next(l, m, vy, square, q, before), q
            dx, dy, dz = _add_gradient(dx, dy, dz, row, here, l + 1, m, q * cosine, q * sine)
    _store(d, e, here, dx, dy, dz)


@triton.jit
def _double_backward(
    d_dot: tl.tensor,
    g: tl.tensor,
    directions: tl.tensor,
    gg: tl.tensor,
    gd: tl.tensor,
    edges: tl.tensor,
    L_MAX: tl.constexpr,
    EDGES: tl.constexpr,
) -> None:
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    here = e < edges
    vx, vy, vz = _load(directions, e, here)
    ux, uy, uz = _load(d_dot, e, here)
    square = vx * vx + vy * vy + vz * vz
    square_dot = 2.0 * (vx * ux + vy * uy + vz * uz)
    one = tl.full([EDGES], 1.0, vx.dtype)
    zero = tl.full([EDGES], 0.0, vx.dtype)
    dx, dy, dz = zero, zero, zero
    row = e * ((L_MAX + 1) * (L_MAX + 1))
    cosine, sine, cosine_dot, sine_dot = one, zero, zero, zero
    for m in tl.static_range(L_MAX + 1):
        if m > 0:
            cosine_dot, sine_dot = (
                _top(m) * (vz * cosine_dot + uz * cosine - vx * sine_dot - ux * sine),
                _top(m) * (vz * sine_dot + uz * sine + vx * cosine_dot + ux * cosine),
            )
            cosine, sine = _top(m) * (vz * cosine - vx * sine), _top(m) * (vz * sine + vx * cosine)
        q, q_dot, before, before_dot = one, zero, one, zero
        for l in tl.static_range(m, L_MAX + 1):
            if l > m:
                q_dot, before_dot = _next_dot(l, m, vy, uy, square, square_dot, q, q_dot, before, before_dot), q_dot
                q, before = _next(l, m, vy, square, q, before), q
            change, change_sine = q * cosine_dot + q_dot * cosine, q * sine_dot + q_dot * sine
            tl.store(gg + row + (l * l + l + m), change, here)
            if m > 0:
                tl.store(gg + row + (l * l + l - m), change_sine, here)
            if l < L_MAX:
                dx, dy, dz = _add_gradient(dx, dy, dz, g + row, here, l + 1, m, change, change_sine)
    _store(gd, e, here, dx, dy, dz)


def _launch(kernel: Any, l_max: int, *tensors: Tensor) -> None:
    edges = tensors[0].shape[0]
    launch(kernel, (blocks(edges, EDGES),), tensors, edges, L_MAX=l_max, EDGES=EDGES, num_warps=EDGES // 32)


def forward(directions: Tensor, l_max: int) -> Tensor:
    """directions [E, 3] -> [E, (l_max + 1)^2]. All contiguous, on a GPU."""
    y = directions.new_empty(directions.shape[0], (l_max + 1) ** 2)
    _launch(_forward, l_max, directions, y)
    return y


def backward(g: Tensor, directions: Tensor, l_max: int) -> Tensor:
    """Gradient of the directions, given g, that of the result."""
    d = directions.new_empty(directions.shape)
    _launch(_backward, l_max, g, directions, d)
    return d


def double_backward(d_dot: Tensor, g: Tensor, directions: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """Gradients of g and of the directions, given d_dot, that of the result of :func:`backward`."""
    gg, gd = g.new_empty(g.shape), directions.new_empty(directions.shape)
    _launch(_double_backward, l_max, d_dot, g, directions, gg, gd)
    return gg, gd
