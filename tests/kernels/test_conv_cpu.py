"""What only the compiled convolution has: threads, variants for instruction sets, checks, torch's own demands."""

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinet_kernels import Block, ConvSpec, EdgeTopology, Layout, Path, UVUConv, native, use
from equinet_kernels.native import variants
from equinet_kernels.tolerances import TOLERANCES
from tests.kernels.conv_cases import CASES, errors, levels, random_inputs

SPEC = CASES["both parities, l = 2"].spec


@pytest.fixture(autouse=True)
def _compiled():
    assert native.LIBRARY is not None, native.REASON
    with use("cpu", strict=True):
        yield


@pytest.fixture
def inputs():
    return random_inputs(SPEC, "a receiver with none")


@st.composite
def small_specs(draw: st.DrawFn) -> ConvSpec:
    irreps = st.tuples(st.integers(0, 6), st.sampled_from([1, -1]))
    chosen = draw(st.lists(irreps, min_size=1, max_size=3, unique=True))
    x = Layout(Block(draw(st.integers(1, 40)), l, p) for l, p in chosen)
    l_max = draw(st.integers(0, 6))
    allowed = [
        Path(i, l2, l3, p3)
        for i, block in enumerate(x)
        for l2 in range(l_max + 1)
        for l3 in range(abs(block.l - l2), min(block.l + l2, 6) + 1)
        for p3 in (-1, 1)
    ]
    return ConvSpec(x, l_max, tuple(sorted(draw(st.sets(st.sampled_from(allowed), min_size=1, max_size=6)))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(small_specs(), st.sampled_from(["a receiver with none", "one atom", "no edges"]), st.integers(0, 9))
def test_any_spec_equals_the_reference(spec, graph, seed):
    inputs = random_inputs(spec, graph, seed)
    fast = levels(partial(UVUConv(spec, torch.float64), topology=inputs.topology), inputs)
    with use("reference"):
        slow = levels(partial(UVUConv(spec, torch.float64), topology=inputs.topology), inputs)
    found = errors(spec, fast, slow)
    assert {name: error for name, error in found.items() if not error <= TOLERANCES[torch.float64]} == {}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_same_bits_with_any_number_of_threads(dtype):
    """Over 2,048 edges, so that backward takes several sweeps and two threads share each."""
    spec = CASES["channels differ, l = 3"].spec
    inputs = random_inputs(spec, "thousands").to(dtype)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(levels(partial(UVUConv(spec, dtype), topology=inputs.topology), inputs))
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


@pytest.mark.parametrize("level", ["uvu_conv", "uvu_conv_backward", "uvu_conv_double_backward"])
def test_torch_accepts_the_operator(level, inputs):
    x, y, w = (tensor.requires_grad_() for tensor in inputs[:3])
    g = torch.randn(len(x), SPEC.out.dim, dtype=x.dtype, requires_grad=True)
    dots = tuple(torch.randn_like(tensor) for tensor in (x, y, w))
    tensors = {
        "uvu_conv": (x, y, w),
        "uvu_conv_backward": (g, x, y, w),
        "uvu_conv_double_backward": tuple(t.detach() for t in (*dots, g, x, y, w)),
    }
    torch.library.opcheck(getattr(torch.ops.equinet, level).default, (*tensors[level], *inputs.topology, str(SPEC)))


def test_third_derivative_is_refused(inputs):
    x, y, w = (tensor.requires_grad_() for tensor in inputs[:3])
    out = UVUConv(SPEC, torch.float64)(x, y, w, inputs.topology)
    (first,) = torch.autograd.grad(out.square().sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), y, create_graph=True)
    with pytest.raises(NotImplementedError, match="run the reference"):
        torch.autograd.grad(second.square().sum(), y)


def test_compiled_by_torch_equals_eager(inputs):
    conv = UVUConv(SPEC, torch.float64)
    compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
    eager = levels(partial(conv, topology=inputs.topology), inputs)
    x, y, w = (tensor.detach().requires_grad_() for tensor in inputs[:3])
    out = compiled(x, y, w, inputs.topology)
    assert torch.equal(out, eager["out"])
    g = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for gradient, name in zip(torch.autograd.grad(out, (x, y, w), g), ("d/dx", "d/dy", "d/dw"), strict=True):
        assert torch.equal(gradient, eager[name])


def changed(topology: EdgeTopology, field: str, position: int, value: int) -> EdgeTopology:
    index = getattr(topology, field).clone()
    index[position] = value
    return topology._replace(**{field: index})


@pytest.mark.parametrize(
    ("field", "position", "value", "message"),
    [
        ("senders", 7, 6, "edge 7 runs from node 6 to node .* but there are 6 nodes"),
        ("senders", 0, -1, "edge 0 runs from node -1"),
        ("receivers", 29, 2**40, "edge 29 runs from node .* to node 1099511627776"),
        ("receivers", 0, 5, "edge 0 is not among the edges of its receiver, node 5.* sorted by receiver"),
        ("row_ptr", 6, 29, "row_ptr must run from 0 to the number of edges, 30"),
        ("row_ptr", 3, 31, "is not among the edges of its receiver|row_ptr falls"),
    ],
)
def test_broken_graphs_are_refused(inputs, field, position, value, message):
    broken = inputs._replace(topology=changed(inputs.topology, field, position, value))
    with pytest.raises(ValueError, match=message):
        UVUConv(SPEC, torch.float64)(*broken)


def test_debugging_checks_what_only_other_devices_rely_on(inputs):
    swapped = inputs.topology.sender_perm.flip(0)
    broken = inputs._replace(topology=inputs.topology._replace(sender_perm=swapped))
    conv = UVUConv(SPEC, torch.float64)
    conv(*broken)
    with use(debug=True), pytest.raises(ValueError, match="sender_perm is not the stable order"):
        conv(*broken)


def test_dtypes_are_not_mixed(inputs):
    conv = UVUConv(SPEC, torch.float64)
    with pytest.raises(ValueError, match=r"y is torch.float32; all must be float32 or all float64"):
        conv(inputs.x, inputs.y.float(), inputs.w, inputs.topology)
    with pytest.raises(ValueError, match=r"x is torch.bfloat16"):
        conv(*inputs.to(torch.bfloat16))
    short = inputs.topology._replace(senders=inputs.topology.senders.int())
    with pytest.raises(ValueError, match=r"senders must be int64 \[30\], got torch.int32"):
        conv(inputs.x, inputs.y, inputs.w, short)


@pytest.mark.parametrize("spec", ["", "uvu;x=1x0e;l_max=0", "uvu;x=1x9e;l_max=0;paths=0.0.9e", str(SPEC) + ";more"])
def test_what_is_no_spec_is_refused(spec, inputs):
    with pytest.raises(ValueError, match=r"not a convolution spec|above l = 6"):
        torch.ops.equinet.uvu_conv(*inputs[:3], *inputs.topology, spec)


NUMBERS = """
import sys
from functools import partial
import torch
import equinet_kernels
from equinet_kernels import UVUConv, native
from equinet_kernels.tolerances import TOLERANCES
from tests.kernels.conv_cases import CASES, errors, levels, random_inputs

for name in ("channels differ, l = 3", "natural parity, 32 channels, l = 2"):
    spec = CASES[name].spec
    inputs = random_inputs(spec, "a receiver with none")
    for dtype in (torch.float64, torch.float32):
        with equinet_kernels.use("reference"):
            slow = levels(partial(UVUConv(spec, torch.float64), topology=inputs.topology), inputs)
        cast = inputs.to(dtype)
        with equinet_kernels.use("cpu"):
            fast = levels(partial(UVUConv(spec, dtype), topology=inputs.topology), cast)
        assert max(errors(spec, fast, slow, smallest_part=16).values()) <= TOLERANCES[dtype]
print(native.VARIANT, native.LIBRARY.equinet_vector_bytes())
"""
WIDTHS = {"x86_64_v2": 16, "x86_64_v3": 32, "x86_64_v4": 64, "aarch64_neon": 16}


@pytest.mark.parametrize("variant", variants())
def test_every_instruction_set_of_this_processor(variant):
    environment = os.environ | {"EQUINET_CPU_VARIANT": variant}
    result = subprocess.run(
        [sys.executable, "-c", NUMBERS], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [variant, str(WIDTHS[variant])]


WITHOUT = """
import warnings
import torch, equinet_kernels
from equinet_kernels import ConvSpec, UVUConv, edge_topology, explain, observe
conv = UVUConv(ConvSpec.parse("uvu;x=1x0e;l_max=0;paths=0.0.0e"))
inputs = torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), edge_topology(*torch.zeros(2, 1).long(), 1)
with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always")
    with observe() as ran:
        print(float(conv(*inputs)), float(conv(*inputs)))
print(len(shown), shown[0].message)
print(dict(ran), explain(conv)[0].implementation, explain(conv)[0].reason)
try:
    explain(conv, strict=True)
except RuntimeError as error:
    print("strict:", error)
"""


def test_without_a_library_the_reference_runs_and_says_so_once():
    """As after an installation without a compiler; here an instruction set that nobody has."""
    environment = os.environ | {"EQUINET_CPU_VARIANT": "none"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    values, warning, explained, strict = result.stdout.splitlines()
    assert values == "1.0 1.0"
    assert warning.startswith("1 equinet_kernels: plain torch stands in")
    assert "there was no C++ compiler when the package was installed" in explained
    assert explained.startswith("{('uvu_conv', 'reference'): 2} reference fallback: ")
    assert strict.startswith("strict: uvu_conv would run on the reference")
