"""libequinet_ops.so: the operators without Python, beside it in either order, and in a C++ program."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from equinet_kernels import UVUConv, use
from equinet_kernels.library import SCHEMAS
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.compiled import ROOT, ops_library, program
from tests.kernels.conv_cases import Inputs, random_inputs
from tests.kernels.fresh_process import run_python
from tests.kernels.operator_calls import DIFFERENTIABLE, SPEC, broken_calls, cotangent, good_calls, inputs_of
from tests.kernels.without_equinet import run

HERE = Path(__file__).resolve().parent
HOST_SOURCE = HERE / "cpp" / "host.cpp"


class Built(NamedTuple):
    """What was compiled: the library, with the CPU libraries beside it, and the program."""

    library: Path
    host: Path


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Built:
    """Compiled side by side."""
    with ThreadPoolExecutor() as pool:
        jobs = pool.submit(ops_library, request.config), pool.submit(program, request.config, HOST_SOURCE)
        return Built(*(job.result() for job in jobs))


@pytest.fixture(scope="module")
def alone(built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a process with torch and the library alone makes of the calls."""
    folder = tmp_path_factory.mktemp("without_equinet")
    x, y, w, topology = random_inputs(SPEC, "thousands")
    given = {"calls": good_calls() + broken_calls(), "large": [x, y, w, *topology, str(SPEC)]}
    torch.save(given, folder / "calls.pt")
    arguments = [built.library, folder / "calls.pt", folder / "results.pt"]
    program = [sys.executable, "-I", "-W", "error", str(HERE / "without_equinet.py"), *map(str, arguments)]
    result = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return torch.load(folder / "results.pt")


def test_every_operator_is_there_without_equinet(alone):
    assert alone["modules"] == []
    on_gpus = {"uvu_conv", "uvu_conv_backward", "uvu_conv_double_backward"}
    with_tensors = [name for name in SCHEMAS if name != "set_ghost_host"]  # which without_equinet.py cannot list
    keys = {name: ["CPU", *(["CUDA"] if name in on_gpus else []), "Meta", "Autograd"] for name in with_tensors}
    assert alone["kernels"] == keys


@pytest.mark.parametrize("number", range(len(good_calls())), ids=[name for name, _ in good_calls()])
def test_same_numbers_as_beside_python(number, alone):
    name, arguments = good_calls()[number]
    ours, theirs = alone["calls"][number], run(name, arguments)
    assert ours["shapes"] == theirs["shapes"]
    assert same(ours["results"], theirs["results"])
    if name in DIFFERENTIABLE:
        assert ours.get("error") == theirs.get("error")
        assert same(ours.get("gradients", ()), theirs.get("gradients", ()))
    else:
        kind, message = ours["error"]
        assert kind == "NotImplementedError"
        assert message.startswith(f"{name} cannot be differentiated: libequinet_ops has first derivatives, for forces")
        assert message.endswith("need Python: import equinet_kernels")


def same(ours: Sequence[Tensor | None], theirs: Sequence[Tensor | None]) -> bool:
    """To the bit."""
    pairs = zip(ours, theirs, strict=True)
    return all(b is None if a is None else b is not None and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_same_numbers_as_the_reference(dtype, alone):
    number = next(n for n, (name, a) in enumerate(good_calls()) if name == "uvu_conv" and a[0].dtype == dtype)
    inputs = inputs_of()
    found = alone["calls"][number]
    (out,) = found["results"]
    expected = reference(inputs, torch.linspace(-1, 1, out.numel(), dtype=dtype).reshape(out.shape))
    for ours, exact in zip((out, *found["gradients"]), expected.values(), strict=True):
        assert relative_error(ours, exact) <= TOLERANCES[dtype]


@pytest.mark.parametrize("number", range(len(broken_calls())))
def test_refused_in_the_same_words(number, alone):
    name, arguments = broken_calls()[number]
    refused = run(name, arguments)["error"]
    assert refused[0] == "ValueError"
    assert alone["calls"][len(good_calls()) + number]["error"] == refused


def test_missing_cpu_libraries_are_named(alone):
    no_variant, no_file, other = alone["missing"]
    assert no_variant.startswith("libequinet_ops: no libequinet_cpu-no_such_variant.so in /")
    assert no_variant.endswith("; put it there, or name one by the environment variable EQUINET_CPU_LIBRARY")
    assert no_file.startswith("libequinet_ops: a library does not load: /no/such/library.so: cannot open")
    assert other.endswith("libequinet_ops.so has no function equinet_abi_version; it is of another version")


def test_threads_are_those_of_torch(alone):
    """They stay for its next loop; threads of the library's own would have ended."""
    assert alone["threads"] == 2


def reference(inputs: Inputs, g: Tensor) -> dict[str, Tensor]:
    x, y, w = (tensor.detach().requires_grad_() for tensor in inputs[:3])
    with use("reference"):
        out = UVUConv(SPEC, torch.float64)(x, y, w, inputs.topology)
    gradients = torch.autograd.grad(out, (x, y, w), g.double())
    return dict(zip(("out", "dx", "dy", "dw"), (out.detach(), *gradients), strict=True))


class Deployed(nn.Module):
    """A model as it is deployed: it calls the operator by its name and carries what a test compares."""

    senders: Tensor
    receivers: Tensor
    row_ptr: Tensor
    sender_perm: Tensor
    sender_ptr: Tensor

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.spec = str(SPEC)
        g = cotangent(inputs.x)
        tensors = {**inputs._asdict(), **inputs.topology._asdict(), "g": g, **reference(inputs, g)}
        del tensors["topology"]
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return torch.ops.equinet.uvu_conv(
            x, y, w, self.senders, self.receivers, self.row_ptr, self.sender_perm, self.sender_ptr, self.spec
        )


def test_program_in_cpp(built, tmp_path):
    """Numbers of the operator and of a TorchScript model that Python wrote, threads, refusals."""
    torch.jit.script(Deployed(random_inputs(SPEC, "thousands"))).save(tmp_path / "model.pt")
    command = [str(built.host), str(built.library), str(tmp_path / "model.pt")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    said = [line.split(": ", maxsplit=1) for line in result.stdout.splitlines()]
    errors = [(what, float(error)) for what, error in said if what.startswith(("dispatcher", "script"))]
    assert len(errors) == 4 * 4
    assert [what for what, error in errors if not error <= TOLERANCES[torch.float64]] == []

    other = dict(said)
    assert other["threads that torch keeps"] == "2"
    assert "uvu_conv_backward cannot be differentiated" in other["second derivative"]
    assert other["shape"].startswith(f"uvu_conv: y must be [2050, {SPEC.y_dim}], got [4, {SPEC.x.dim}]")
    assert other["spec"] == "not a convolution spec: 'nonsense'"


@pytest.mark.parametrize("order", ["library first", "Python first"])
def test_both_in_one_process(order, built):
    """Whichever comes first: Python's kernels run, training has its second derivatives, and nobody warns."""
    first, second = f"torch.ops.load_library({str(built.library)!r})", "import equinet_kernels"
    if order == "Python first":
        first, second = second, first
    run_python(f"""
import warnings
import torch
warnings.simplefilter("error")
{first}
{second}
from functools import partial
import equinet_kernels
from equinet_kernels import UVUConv, use
from equinet_kernels.tolerances import TOLERANCES
from tests.kernels.conv_cases import errors, levels
from tests.kernels.operator_calls import SPEC, good_calls, inputs_of

inputs = inputs_of()
conv = partial(UVUConv(SPEC, torch.float64), topology=inputs.topology)
with use("cpu"), equinet_kernels.observe() as ran:
    ours = levels(conv, inputs)
assert ran == {{(level, "cpu"): 1 for level in ("uvu_conv", "uvu_conv_backward", "uvu_conv_double_backward")}}, ran
with use("reference"):
    assert max(errors(SPEC, ours, levels(conv, inputs)).values()) <= TOLERANCES[torch.float64]

for name, arguments in dict(good_calls()).items():
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    leaves = [a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments]
    torch.library.opcheck(getattr(torch.ops.equinet, name).default, tuple(leaves), test_utils=tests)
""")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {"PATH": "/nowhere", "CXX": ""}, "there is no C++ compiler"),
        (["--torch", "/nowhere"], {}, "/nowhere has no include/torch/library.h; name the folder of a libtorch"),
    ],
)
def test_build_says_what_it_lacks(arguments, environment, message, tmp_path):
    command = [sys.executable, "kernels/ops_build.py", "--output", str(tmp_path), *arguments]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")
