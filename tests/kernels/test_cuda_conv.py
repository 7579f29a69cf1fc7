"""The CUDA convolution in numbers, on any CPU: compiled through the emulation, all three levels, path by path.

The emulation (``csrc/cuda/emulation``) runs the very sources that nvcc compiles. What only a GPU can get wrong stays
unseen here: its memory model, its scheduling, the handful of PTX instructions. ``test_cuda_gpu.py`` is for that.
"""

import ctypes
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from equinet_kernels import edge_topology
from equinet_kernels.conv import cuda
from tests.kernels.conv_cases import CASES, Inputs, random_inputs
from tests.kernels.cuda_cases import DTYPES, MACE, NEQUIP, SEVENNET, SPECS, check_numbers, kernels_of, ours, same_bits
from tests.kernels.cuda_library import compile_emulated, emulated_library

SPEC = CASES["both parities, l = 2"].spec


@pytest.fixture(scope="module")
def emulated_path(request: pytest.FixtureRequest) -> Path:
    return emulated_library(request.config)


@pytest.fixture
def emulated(emulated_path: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """The library compiled for the CPU stands in for the one for GPUs."""
    library = cuda.prepare(str(emulated_path))
    monkeypatch.setattr(cuda, "LIBRARY", library)
    return library


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Fill uninitialised memory with NaN, so that a value read before it is written shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", SPECS)
def test_all_levels_equal_the_reference(emulated, poisoned_memory, name):
    check_numbers(SPECS[name], random_inputs(SPECS[name], "a receiver with none"))


@pytest.mark.parametrize("name", ["scalars", "one channel, l = 1", "first layer", "a block and a degree unused"])
def test_a_receiver_with_thousands(emulated, name):
    check_numbers(SPECS[name], random_inputs(SPECS[name], "thousands"))


@pytest.mark.parametrize("name", ["one channel, l = 1", "both parities, l = 2", "above l = 4"])
def test_one_atom(emulated, name):
    check_numbers(SPECS[name], random_inputs(SPECS[name], "one atom"))


@pytest.mark.parametrize("name", ["both parities, l = 2", "more tiles than one, not in every block"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_edges_give_zeros_and_no_atoms_nothing(emulated, poisoned_memory, name, dtype):
    inputs = random_inputs(SPECS[name], "no edges").to(dtype)
    found = ours(SPECS[name], inputs)
    assert found["out"].shape == found["d2/dg"].shape == (3, SPECS[name].out.dim)
    assert all((tensor == 0).all() for tensor in found.values())
    none = Inputs(inputs.x[:0], *inputs[1:3], edge_topology(inputs.topology.senders, inputs.topology.receivers, 0))
    assert {len(tensor) for tensor in ours(SPECS[name], none).values()} == {0}


@pytest.mark.parametrize("name", ["both parities, l = 2", "more tiles than one, not in every block", "SevenNet-0"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_the_lanes_changes_no_bit(emulated, name, dtype):
    """It would where a lane reads what another one writes, without waiting."""
    inputs = random_inputs(SPECS[name], "a receiver with none").to(dtype)
    forwards = ours(SPECS[name], inputs)
    emulated.equinet_emulation_reverse_lanes(1)
    try:
        assert same_bits(ours(SPECS[name], inputs), forwards)
    finally:
        emulated.equinet_emulation_reverse_lanes(0)


def guarded(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The same values, one number behind an aligned address, and the NaNs in which they lie."""
    storage = torch.full((tensor.numel() + 66,), float("nan"), dtype=tensor.dtype)
    return storage[33:-33].view(tensor.shape).copy_(tensor), storage


@pytest.mark.parametrize("name", ["channels differ, l = 3", "more tiles than one, not in every block", "SevenNet-0"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_outside_the_arrays_is_read_or_written(emulated, name, dtype):
    spec, inputs = SPECS[name], random_inputs(SPECS[name], "a receiver with none").to(dtype)
    random = torch.Generator().manual_seed(2)
    x, y, w = (guarded(tensor)[0] for tensor in inputs[:3])
    like_x, like_y, like_w, g = (
        guarded(torch.randn(shape, generator=random, dtype=dtype))[0]
        for shape in (x.shape, y.shape, w.shape, (len(x), spec.out.dim))
    )
    for function, given in (
        ("uvu_conv", (x, y, w)),
        ("uvu_conv_backward", (g, x, y, w)),
        ("uvu_conv_double_backward", (like_x, like_y, like_w, g, x, y, w)),
    ):
        results = {"uvu_conv": [g], "uvu_conv_backward": [x, y, w]}.get(function, [g, x, y, w])
        made, storages = zip(*(guarded(torch.full_like(result, torch.nan)) for result in results), strict=True)
        cuda._call(function, inputs.topology, spec, x, *given, *made)
        for tensor, storage in zip(made, storages, strict=True):
            assert tensor.isfinite().all()
            assert storage[:33].isnan().all()
            assert storage[-33:].isnan().all()


def test_every_kernel_is_tested(emulated, emulated_path):
    symbols = subprocess.run(["nm", "-C", emulated_path], capture_output=True, text=True, check=True).stdout
    compiled = set(re.findall(r"\)::((?:double_)?(?:back|for)ward<\w+, [\d, ]+>)\(", symbols))
    assert len(compiled) > 80
    assert compiled == {kernel for spec in SPECS.values() for dtype in DTYPES for kernel in kernels_of(spec, dtype)}


@pytest.mark.parametrize("spec", [*SPECS.values(), NEQUIP, MACE], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_path_is_in_one_group(emulated, spec, dtype, level):
    groups = cuda.describe(spec, dtype, level)
    first = 0
    for group in groups:
        paths = spec.paths[first : first + group["paths"]]
        assert group["first_path"] == first
        assert len({path.i for path in paths}) == 1
        assert group["rows"] == sum(2 * path.l3 + 1 for path in paths)
        assert group["channels"] <= 32 * group["vectors"] * group["tiles"]
        assert group["shared_bytes"] <= 48 * 1024  # what a launch may have without asking for more
        first += group["paths"]
    assert first == len(spec.paths)


@pytest.mark.parametrize("spec", [NEQUIP, MACE, SEVENNET], ids=["NequIP", "MACE", "SevenNet-0"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_common_models_read_weights_and_features_once(emulated, spec, level):
    """One group for each block of x: nothing but y and the senders is read again."""
    assert len(cuda.describe(spec, torch.float32, level)) == len(spec.x)


def test_mistakes_are_reported(emulated):
    inputs = random_inputs(SPEC, "one atom")
    text = ctypes.create_string_buffer(64)
    for spec, dtype, level, message in (
        (b"uvu;x=2x0e;l_max=0;paths=1.0.0e", 0, 0, "not a convolution spec: 'uvu;x=2x0e;l_max=0;paths=1.0.0e'"),
        (str(SPEC).encode(), 2, 0, "dtype must be 0 (float) or 1 (double), got 2"),
        (str(SPEC).encode(), 0, 3, "level must be 0, 1 or 2, got 3"),
    ):
        assert emulated.equinet_cuda_uvu_conv_describe(spec, dtype, level, text, len(text)) == 1
        assert emulated.equinet_cuda_last_error().decode() == message
    with pytest.raises(AssertionError, match="dense rows"):
        cuda.forward(inputs.x, inputs.y.T.contiguous().T, inputs.w, inputs.topology, SPEC)


def test_a_missing_library_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda, "PATH", tmp_path / "libequinet_cuda.so")
    library, reason = cuda._load()
    assert library is None
    assert reason == f"there is no {cuda.PATH}; with nvcc: python kernels/cuda_build.py"
    cuda.PATH.write_text("no library")
    assert cuda._load()[1].startswith("libequinet_cuda.so does not load: ")


WRONG_KERNELS = """
#include <cuda_runtime.h>
namespace equinet::cuda { extern unsigned char shared_memory[]; }
static float* numbers() { return reinterpret_cast<float*>(equinet::cuda::shared_memory); }
static void nothing_wrong(float* out) {
    numbers()[threadIdx.x] = threadIdx.x;
    __syncwarp();
    out[threadIdx.x] = __shfl_xor_sync(~0u, numbers()[31 - threadIdx.x], 1);
}
static void parted_lanes(float* out) {
    if (threadIdx.x < 16)
        __syncwarp();
    else
        out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);
}
static void missing_lanes(float*) {
    if (threadIdx.x != 7) __syncwarp();
}
static void beyond_the_end(float*) { numbers()[threadIdx.x + 1] = 0; }
static void never_waited_for(float* out) { emulation::copy_async(numbers() + threadIdx.x, out, 4); }
static void read_too_early(float* out) {
    emulation::copy_async(numbers() + threadIdx.x, out, 4);
    emulation::close_copies();
    emulation::wait_for_copies(1);
    out[threadIdx.x] = numbers()[threadIdx.x];
    emulation::wait_for_copies(0);
}
extern "C" __attribute__((visibility("default"))) const char* run_wrong(int which, float* out) {
    void (*const kernels[])(float*) = {nothing_wrong, parted_lanes, missing_lanes, beyond_the_end, never_waited_for,
                                       read_too_early};
    void* arguments[] = {&out};
    const cudaError_t error = cudaLaunchKernel(kernels[which], dim3(1), dim3(32), arguments, 128, nullptr);
    return error ? cudaGetErrorString(error) : "";
}
"""


def test_the_emulation_sees_mistakes(tmp_path):
    (tmp_path / "wrong.cu").write_text(WRONG_KERNELS)
    compile_emulated([tmp_path / "wrong.cu"], tmp_path / "wrong.so")
    library = ctypes.CDLL(str(tmp_path / "wrong.so"))
    library.run_wrong.restype = ctypes.c_char_p
    out = torch.zeros(32)
    messages = [library.run_wrong(which, ctypes.c_void_p(out.data_ptr())).decode() for which in range(6)]
    assert messages[0] == ""
    assert "lanes wait at different places" in messages[1]
    assert "lanes waited different numbers of times" in messages[2] or "that has ended" in messages[2]
    assert messages[3] == "a write behind the end of shared memory"
    assert messages[4] == "copies that nobody waited for"
    assert messages[5] == ""
    assert out.isnan().all()
