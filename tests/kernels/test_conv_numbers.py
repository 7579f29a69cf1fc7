"""The convolution against e3nn and against its formula: result, first and second derivatives, path by path."""

from functools import partial

import pytest
import torch
from e3nn import o3
from torch import Tensor

from equinet_kernels import ConvSpec, Layout, UVUConv, edge_topology, observe, use
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.conv_cases import CASES, GRAPHS, Case, errors, levels, random_inputs
from tests.kernels.e3nn_oracle import convolve


def ours(spec: ConvSpec, inputs) -> dict[str, Tensor]:
    return levels(partial(UVUConv(spec, inputs.x.dtype), topology=inputs.topology), inputs)


def of_e3nn(case: Case, inputs) -> dict[str, Tensor]:
    senders, receivers = inputs.topology.senders, inputs.topology.receivers
    function = partial(convolve, case.spec, senders=senders, receivers=receivers, y_parity=case.y_parity)
    return levels(function, inputs)


RUNS = {
    "reference": [("uvu_conv", "reference")],  # autograd does the rest
    "cpu": [(operator, "cpu") for operator in ("uvu_conv", "uvu_conv_backward", "uvu_conv_double_backward")],
}
"""What must have run for one result with its first and second derivatives."""


def beyond(tolerance: float, found: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error <= tolerance}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", CASES)
def test_all_levels_equal_e3nn(name, graph):
    """Every implementation against one computation of the oracle, which is what takes the time."""
    case = CASES[name]
    inputs = random_inputs(case.spec, graph)
    oracle = of_e3nn(case, inputs)
    for implementation, ran in RUNS.items():
        with use(implementation, strict=True), observe() as counts:
            double = errors(case.spec, ours(case.spec, inputs), oracle)
            single = errors(case.spec, ours(case.spec, inputs.to(torch.float32)), oracle, smallest_part=16)
        assert beyond(TOLERANCES[torch.float64], double) == {}, implementation
        assert beyond(TOLERANCES[torch.float32], single) == {}, implementation
        assert counts == dict.fromkeys(ran, 2), "what was named must be what ran"


def test_the_comparison_sees_one_wrong_path():
    case = CASES["both parities, l = 2"]
    inputs = random_inputs(case.spec, "a receiver with none")
    wrong = UVUConv(case.spec, torch.float64)
    columns = wrong.coupling.abs().sum(dim=0).nonzero().flatten()
    wrong.coupling[:, columns[-1]] *= 1.0 + 1e-6
    with use("reference"):
        broken = levels(partial(wrong, topology=inputs.topology), inputs)
    found = errors(case.spec, broken, of_e3nn(case, inputs))
    last = case.spec.paths[-1]
    assert {f"{level} of {last}" for level in ("out", "d/dw", "d2/dw", "d2/dg")} <= set(beyond(1e-8, found))
    assert not any(f"d/dw of {path}" in beyond(1e-8, found) for path in case.spec.paths[:-1])


def test_cases_cover_what_they_claim():
    specs = [case.spec for case in CASES.values()]
    everything = CASES["everything to l = 4"].spec
    couplings = {(everything.x[path.i].l, path.l2, path.l3) for path in everything.paths}
    allowed = {(a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), min(a + b, 4) + 1)}
    assert couplings == allowed
    assert {1, 5, 32, 33, 128} <= {block.channels for spec in specs for block in spec.x}
    counts = random_inputs(everything, "thousands").topology.row_ptr.diff()
    assert counts.max() >= 2000
    assert random_inputs(everything, "a receiver with none").topology.row_ptr.diff().min() == 0


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", CASES)
def test_no_edges_give_zeros(name):
    spec = CASES[name].spec
    inputs = random_inputs(spec, "no edges")
    found = ours(spec, inputs)
    assert found["out"].shape == found["d2/dg"].shape == (3, spec.out.dim)
    assert found["d/dx"].shape == (3, spec.x.dim)
    assert found["d/dy"].shape == (0, spec.y_dim)
    assert found["d2/dw"].shape == (0, spec.weight_dim)
    assert all((tensor == 0).all() for tensor in found.values())


@pytest.mark.usefixtures("implementation")
def test_no_atoms():
    spec = CASES["both parities, l = 2"].spec
    inputs = random_inputs(spec, "no edges")
    none = torch.zeros(0, dtype=torch.int64)
    topology = edge_topology(none, none, 0)
    assert UVUConv(spec, torch.float64)(inputs.x[:0], *inputs[1:3], topology).shape == (0, spec.out.dim)


@pytest.mark.usefixtures("implementation")
def test_formula_as_it_is_written():
    """The formula edge by edge in loops, with no layout trick, so that the oracle is not believed blindly."""
    spec = ConvSpec.all_paths(Layout.parse("2x0e+3x1o"), 1, [(0, 1), (1, -1), (1, 1)])
    inputs = random_inputs(spec, "one atom")
    scalars, vectors = inputs.x[0, :2].view(1, 2), inputs.x[0, 2:].view(3, 3)
    expected: dict[tuple[int, int], list[Tensor]] = {(0, 1): [], (1, -1): [], (1, 1): []}
    start = 0
    for path in spec.paths:
        x, l1 = (scalars, 0) if path.i == 0 else (vectors, 1)
        coupling = o3.wigner_3j(l1, path.l2, path.l3, dtype=torch.float64) * (2 * path.l3 + 1) ** 0.5
        total = torch.zeros(2 * path.l3 + 1, x.shape[1], dtype=torch.float64)
        for e in range(len(inputs.y)):
            y = inputs.y[e, path.l2**2 : (path.l2 + 1) ** 2]
            w = inputs.w[e, start : start + x.shape[1]]
            total += w * torch.einsum("ijk,ic,j->kc", coupling, x, y)
        expected[path.l3, path.p3].append(total)
        start += x.shape[1]
    assert str(spec.out) == "5x0e+5x1o+3x1e"
    joined = torch.cat([torch.cat(expected[irrep], dim=1).flatten() for irrep in sorted(expected)])
    out = UVUConv(spec, torch.float64)(*inputs)
    assert relative_error(out[0], joined) <= TOLERANCES[torch.float64]
