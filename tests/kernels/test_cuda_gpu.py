"""The CUDA convolution as nvcc compiles it, where there is one; and its numbers on a GPU, where there is one."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from equinet_kernels import ConvSpec, EdgeTopology, edge_topology
from equinet_kernels.conv import cuda
from equinet_kernels.tolerances import relative_error
from tests.kernels.conv_cases import CASES, Inputs, random_inputs
from tests.kernels.cuda_cases import (
    DTYPES,
    MACE,
    NEQUIP,
    SEVENNET,
    SPECS,
    check_numbers,
    kernels_of,
    ours,
    same_bits,
)
from tests.kernels.cuda_library import cuda_build, real_library

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SPEC = CASES["both parities, l = 2"].spec


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> tuple[Path, list[Any]]:
    return real_library(request.config)


@pytest.fixture
def real(built, monkeypatch) -> None:
    """The convolution runs in the library just compiled."""
    monkeypatch.setattr(cuda, "LIBRARY", cuda.prepare(str(built[0])))


def test_every_kernel_is_compiled_without_spilling(built, real):
    usages = built[1]
    kernels = {usage.kernel for usage in usages if "ward<" in usage.kernel}
    assert kernels == {kernel for spec in SPECS.values() for dtype in DTYPES for kernel in kernels_of(spec, dtype)}
    assert {usage.architecture for usage in usages} == {"sm_80", "sm_90"}
    # neither spills nor arrays in local memory; and where float is computed, eight warps or more on a multiprocessor
    assert [usage for usage in usages if usage.spills or usage.stack] == []
    assert max(usage.registers for usage in usages if "float" in usage.kernel) <= 65536 // 32 // 8


def test_the_interface(built, real):
    """The library loads where there is no GPU, too; there a call says what is wrong."""
    command = ["nm", "-D", "--defined-only", built[0]]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = {line.split()[-1] for line in symbols.splitlines() if " T " in line}
    assert functions == set(re.findall(r"(equinet_cuda_\w+)\(", (cuda_build.FOLDER / "api.h").read_text()))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"uvu_conv on CUDA: .+"):
            cuda.forward(*random_inputs(SPEC, "one atom").to(torch.float32), SPEC)


def on_gpu(inputs: Inputs) -> Inputs:
    return Inputs(*(t.cuda() for t in inputs[:3]), EdgeTopology(*(t.cuda() for t in inputs.topology)))


@gpu
@pytest.mark.parametrize("graph", ["a receiver with none", "one atom", "thousands", "no edges"])
@pytest.mark.parametrize("name", SPECS)
def test_numbers_on_a_gpu(real, name, graph):
    check_numbers(SPECS[name], on_gpu(random_inputs(SPECS[name], graph)))


def many_atoms(spec: ConvSpec, nodes: int, degree: int, dtype: torch.dtype) -> Inputs:
    """On the GPU; receivers have between none and twice ``degree`` edges."""
    random = torch.Generator("cuda").manual_seed(0)
    degrees = torch.randint(0, 2 * degree + 1, (nodes,), generator=random, device="cuda")
    receivers = torch.repeat_interleave(torch.arange(nodes, device="cuda"), degrees)
    edges = len(receivers)
    senders = torch.randint(0, nodes, (edges,), generator=random, device="cuda")
    x, y, w = (
        torch.randn(size, generator=random, dtype=dtype, device="cuda")
        for size in ((nodes, spec.x.dim), (edges, spec.y_dim), (edges, spec.weight_dim))
    )
    return Inputs(x, y, w, edge_topology(senders, receivers, nodes))


@gpu
@pytest.mark.parametrize("spec", [NEQUIP, MACE, SEVENNET, SPECS["many channels, many rows"]], ids=str)
def test_at_size_on_a_gpu(real, spec):
    inputs = many_atoms(spec, 1000, 20, torch.float64)
    check_numbers(spec, inputs)
    single = inputs.to(torch.float32)
    first = ours(spec, single)
    assert all(same_bits(ours(spec, single), first) for _ in range(5))


@gpu
def test_another_stream_and_a_captured_graph(real):
    inputs = on_gpu(random_inputs(NEQUIP, "a receiver with none")).to(torch.float32)
    g = torch.randn(len(inputs.x), NEQUIP.out.dim, device="cuda")
    expected = cuda.backward(g, *inputs, NEQUIP)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        elsewhere = cuda.backward(g, *inputs, NEQUIP)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = cuda.backward(g, *inputs, NEQUIP)
    graph.replay()
    for results in (elsewhere, captured):
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@gpu
@pytest.mark.slow
def test_more_than_2_to_the_31_numbers_on_a_gpu(real):
    """The last receivers of a graph whose w and dx have more numbers than 32 bits count give what they give alone."""
    spec = CASES["128 channels"].spec
    degree, last = 16, 64
    nodes = 2**31 // spec.weight_dim // degree + 1000
    senders = torch.randint(0, nodes, (nodes * degree,), device="cuda")
    receivers = torch.arange(nodes, device="cuda").repeat_interleave(degree)
    topology = edge_topology(senders, receivers, nodes)
    x, g = (torch.randn(nodes, dim, device="cuda") for dim in (spec.x.dim, spec.out.dim))
    y = torch.randn(len(senders), spec.y_dim, device="cuda")
    w = torch.randn(len(senders), spec.weight_dim, device="cuda")
    assert w.numel() > 2**31
    out = cuda.forward(x, y, w, topology, spec)[-last:].clone()
    _, dy, dw = cuda.backward(g, x, y, w, topology, spec)
    edges = last * degree
    alone = edge_topology(torch.arange(edges, device="cuda"), receivers[-edges:] - (nodes - last), edges)
    few = (x[senders[-edges:]], y[-edges:].contiguous(), w[-edges:].contiguous(), alone, spec)
    padded = torch.cat([g[-last:], g.new_zeros(edges - last, spec.out.dim)])
    assert torch.equal(cuda.forward(*few)[:last], out)
    _, dy_alone, dw_alone = cuda.backward(padded, *few)
    assert relative_error(dy[-edges:], dy_alone) == relative_error(dw[-edges:], dw_alone) == 0.0
