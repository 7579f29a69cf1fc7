"""What the generator writes: divided as planned, the same every time, and what a GPU's compiler makes of it."""

import re
from collections import Counter

import pytest
import torch

from equinet_kernels import ConvSpec, Layout
from equinet_kernels.conv.triton.plan import REGISTERS, THREADS, WIDEST_TILE, Level, make_plan
from equinet_kernels.conv.triton.source import write_source
from tests.kernels.conv_cases import CASES, NATURAL
from tests.kernels.fresh_process import run_python

SPECS = [case.spec for case in CASES.values()] + [
    ConvSpec.all_paths(Layout.parse(x), l_max, targets)
    for x, l_max, targets in [
        ("128x0e+128x1o+128x2e", 2, NATURAL[:3]),
        ("128x0e+64x1o+32x2e+32x3o", 3, NATURAL[:4]),
        ("96x0e+130x1o+1000x2e", 2, NATURAL[:3]),
    ]
]


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("itemsize", [4, 8])
def test_plans_cover_everything_once_and_fit(level, itemsize):
    for spec in SPECS:
        plan = make_plan(spec, level, itemsize)
        assert sorted(p for group in plan.groups for p in group.paths) == list(range(len(spec.paths)))
        tile = edge_column = 0
        for group in plan.groups:
            channels = spec.x[group.block].channels
            assert {spec.paths[p].i for p in group.paths} == {group.block}
            assert group.width & (group.width - 1) == 0
            assert group.width <= WIDEST_TILE
            assert (group.tiles - 1) * group.width < channels <= group.tiles * group.width
            assert (group.first_tile, group.edge_column) == (tile, edge_column)
            tile += group.tiles
            edge_column += spec.x[group.block].dim
            values = sum(2 * spec.paths[p].l3 + 1 for p in group.paths) * level.receiver_values
            assert values * max(1, group.width // THREADS) * itemsize // 4 <= REGISTERS
        assert tile == plan.tiles
        assert edge_column == plan.edge_width
        assert [run.column for run in plan.runs] == [
            sum(run.width for run in plan.runs[:n]) for n in range(len(plan.runs))
        ]
        assert sum(run.width for run in plan.runs) == spec.x.dim


@pytest.mark.parametrize("level", Level)
def test_source_has_no_atomics_and_no_name_twice(level):
    for spec in SPECS:
        text = write_source(spec, level, torch.float32)
        functions = Counter(re.findall(r"^def (\w+)\(", text, flags=re.MULTILINE))
        assert max(functions.values()) == 1
        kernels = {f"uvu_{level.value}"} | ({"uvu_sum_over_senders"} if level is not Level.FORWARD else set())
        assert {name for name in functions if name.startswith("uvu_")} == kernels
        assert "atomic" not in text
        compile(text, "generated", "exec")


def all_texts() -> str:
    spec = CASES["both parities, l = 2"].spec
    return "".join(write_source(spec, level, dtype) for level in Level for dtype in (torch.float32, torch.float64))


def test_source_is_the_same_in_every_process():
    program = "from tests.kernels.test_triton_source import all_texts; print(all_texts(), end='')"
    assert run_python(program, PYTHONHASHSEED="1234") == all_texts()


def test_source_can_be_read():
    """One level of one path in full, as an example and so that a change is seen."""
    spec = ConvSpec.parse("uvu;x=5x1o;l_max=1;paths=0.1.0e")
    body = write_source(spec, Level.FORWARD, torch.float32).partition("TILES = 1\n")[2]
    assert (
        body
        == '''

@triton.jit(noinline=True)
def group_0(x, y, w, senders, out, node, begin, end, tile):
    """Block 0 of x, 5 channels in tiles of 8; paths 0.1.0e."""
    c = tl.arange(0, 8)
    here = c < 5
    out_0_0 = tl.zeros([8], tl.float32)
    for e in tl.range(begin, end, num_stages=1):
        sender = tl.load(senders + e)
        w_row = w + e * 5 + c
        w_0 = tl.load(w_row, here, 0.0)
        x_row = x + sender * 15 + c
        x_0 = tl.load(x_row, here, 0.0)
        x_1 = tl.load(x_row + 5, here, 0.0)
        x_2 = tl.load(x_row + 10, here, 0.0)
        y_row = y + e * 4
        y_1 = tl.load(y_row + 1)
        y_2 = tl.load(y_row + 2)
        y_3 = tl.load(y_row + 3)
        # path 0: 0.1.0e
        b_0 = 0.577350269189626 * y_1
        b_1 = 0.577350269189626 * y_2
        b_2 = 0.577350269189626 * y_3
        a_0 = w_0 * x_0
        a_1 = w_0 * x_1
        a_2 = w_0 * x_2
        out_0_0 = out_0_0 + b_0 * a_0 + b_1 * a_1 + b_2 * a_2
    out_row = out + node * 5 + c
    tl.store(out_row, out_0_0, here)


@triton.jit
def uvu_forward(x, y, w, senders, row_ptr, out):
    node = tl.program_id(0).to(tl.int64)  # 64 bits, and with it every address
    tile = tl.program_id(1)
    begin = tl.load(row_ptr + node)
    end = tl.load(row_ptr + node + 1)
    if tile < 1:
        group_0(x, y, w, senders, out, node, begin, end, tile)
'''
    )


COMPILED = """
import re, struct
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from equinet_kernels import ConvSpec, Layout
from equinet_kernels.conv.triton.cache import kernel_module
from equinet_kernels.conv.triton.plan import Level

INDICES = {"senders", "row_ptr", "sender_ptr", "sender_perm"}
HOPPER, CDNA3 = GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx942", 64)


def compiled(kernel, dtype, target):
    number = {torch.float32: "*fp32", torch.float64: "*fp64"}[dtype]
    signature = {name: "*i64" if name in INDICES else number for name in kernel.arg_names}
    aligned = {(n,): [["tt.divisibility", 16]] for n in range(len(signature))}
    source = ASTSource(fn=kernel, signature=signature, constexprs={}, attrs=aligned)
    return triton.compile(source, target=target, options={"num_warps": 1}).asm


spec = ConvSpec.all_paths(Layout.parse("128x0e+32x1o"), 1, [(0, 1), (1, -1), (1, 1)])
literals = set()
for level in Level:
    for dtype in (torch.float32, torch.float64):
        module = kernel_module(spec, level, dtype)
        kernels = [getattr(module, name) for name in dir(module) if name.startswith("uvu_")]
        assert len(kernels) == (1 if level is Level.FORWARD else 2)
        for kernel in kernels:
            asm = compiled(kernel, dtype, HOPPER)
            assert "atom" not in asm["ptx"]
            loops = re.findall(r"scf.for .* : (i\\d+) ", asm["ttir"])
            assert loops and set(loops) == {"i64"}, loops
            assert not re.search(r"arith.muli .* : i32", asm["ttir"].replace("%tile", ""))
            if dtype == torch.float32:
                assert "ld.global.v4.b32" in asm["ptx"]
                assert "f64" not in asm["ptx"]
            else:
                assert "f32" not in asm["ptx"]
                literals |= set(re.findall("0d([0-9A-F]{16})", asm["ptx"]))
    assert "hsaco" in compiled(getattr(module, f"uvu_{level.value}"), dtype, CDNA3)
numbers = sorted(struct.unpack(">d", bytes.fromhex(literal))[0] for literal in literals)
assert any(abs(abs(number) - 3**-0.5) < 1e-15 for number in numbers), numbers
assert any(abs(abs(number) - 2**-0.5) < 1e-15 for number in numbers), numbers
print("done")
"""


def test_compilers_for_gpus_accept_it(tmp_path):
    """What the interpreter cannot show: types, 64-bit addresses, wide loads, literals in full precision. Triton needs
    no GPU to compile for one."""
    pytest.importorskip("triton", reason="Triton is not installed")
    folders = {"EQUINET_CACHE": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    assert run_python(COMPILED, **folders).strip() == "done"


TRACED = """
import torch, triton
from torch.fx.experimental.proxy_tensor import make_fx
from triton.backends.compiler import GPUTarget
from equinet_kernels import ConvSpec, EdgeTopology, Layout, edge_topology
from equinet_kernels.conv.triton import launch


class NoDevice:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


def all_levels(x_dot, y_dot, w_dot, g, x, y, w, *indices):
    graph = EdgeTopology(*indices), spec
    forward = launch.forward(x, y, w, *graph)
    backward = launch.backward(g, x, y, w, *graph)
    return forward, backward, launch.double_backward(x_dot, y_dot, w_dot, g, x, y, w, *graph)


triton.runtime.driver.set_active(NoDevice())
spec = ConvSpec.all_paths(Layout.parse("5x0e+5x1o"), 1, [(0, 1), (1, -1)])
topology = edge_topology(torch.tensor([1, 0, 2]), torch.tensor([0, 1, 1]), 4)
x, y, w = torch.zeros(4, spec.x.dim), torch.zeros(3, spec.y_dim), torch.zeros(3, spec.weight_dim)
g = torch.zeros(4, spec.out.dim)
traced = make_fx(torch.func.functionalize(all_levels), tracing_mode="symbolic")(x, y, w, g, x, y, w, *topology)
for node in traced.graph.nodes:
    if "triton_kernel_wrapper" in str(node.target):
        grid = node.kwargs["grid"][0]
        assert isinstance(grid[0], torch.fx.Node), "the number of nodes has become a constant"
        print(*node.kwargs["tensors_to_clone"])
assert traced.shape_env.format_guards() == "", traced.shape_env.format_guards()
"""


def test_traced_graphs_hold_the_kernels(tmp_path):
    """For any number of atoms and edges; and torch finds out by itself that nothing but the results is written."""
    pytest.importorskip("triton", reason="Triton is not installed")
    written = run_python(TRACED, EQUINET_CACHE=str(tmp_path)).splitlines()
    assert written == ["out", "dx dy dw", "rows", "gg gx gy gw", "rows"]
