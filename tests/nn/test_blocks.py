"""What the blocks compute, by loops and by hand; that they script and export; and the size of what they give."""

import pytest
import torch
from torch import Tensor, nn

from equinet.nn import EquivariantLinear, Gate, Interaction, NormalizedActivation, SpeciesLinear
from equinet_kernels import Block, ConvSpec, EdgeTopology, Layout, edge_topology
from equinet_kernels.tolerances import TOLERANCES, relative_error

LAYOUT_IN = Layout.parse("4x0e+3x1o+2x2e")
LAYOUT_OUT = Layout.parse("5x1o+2x0e+3x1e+2x2e")
SPECIES_OF = torch.tensor([1, 0, 2, 0, 1])


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_by_loops(x: Tensor, matrices: list[Tensor]) -> Tensor:
    """One row x [dim in] with the weight matrices of the output blocks 1o, 0e, 1e, 2e."""
    scalars, vectors, tensors = x[:4].view(1, 4), x[4:13].view(3, 3), x[13:].view(5, 2)
    blocks = [
        vectors @ matrices[0] / 3**0.5,
        scalars @ matrices[1] / 4**0.5,
        torch.zeros(3, 3, dtype=torch.float64),  # 1e: absent from the input
        tensors @ matrices[3] / 2**0.5,
    ]
    return torch.cat([block.flatten() for block in blocks])


def test_linear_by_loops():
    linear = EquivariantLinear(LAYOUT_IN, LAYOUT_OUT, torch.float64)
    x = normal(5, LAYOUT_IN.dim)
    expected = torch.stack([linear_by_loops(row, list(linear.weights)) for row in x])
    assert relative_error(linear(x), expected) <= TOLERANCES[torch.float64]


def test_species_linear_by_loops():
    linear = SpeciesLinear(3, LAYOUT_IN, LAYOUT_OUT, torch.float64)
    x = normal(5, LAYOUT_IN.dim)
    rows = [
        linear_by_loops(row, [weight[species] for weight in linear.weights])
        for row, species in zip(x, SPECIES_OF, strict=True)
    ]
    assert relative_error(linear(x, SPECIES_OF), torch.stack(rows)) <= TOLERANCES[torch.float64]


def test_species_linear_trains_the_species_present_alone():
    linear = SpeciesLinear(3, LAYOUT_IN, Layout.parse("2x0e"), torch.float64)
    linear(normal(2, LAYOUT_IN.dim), torch.tensor([2, 0])).sum().backward()
    (weight,) = linear.weights
    assert weight.grad is not None
    assert weight.grad[0].all()
    assert weight.grad[2].all()
    assert not weight.grad[1].any()


def test_unknown_species_is_refused():
    linear = SpeciesLinear(3, LAYOUT_IN, LAYOUT_OUT, torch.float64)
    for species in (3, -1):
        with pytest.raises(RuntimeError):
            linear(normal(1, LAYOUT_IN.dim), torch.tensor([species]))


def test_linear_keeps_unit_variance():
    layout = Layout([Block(512, 0, 1), Block(300, 1, -1)])
    x = normal(40, layout.dim)
    plain = EquivariantLinear(layout, layout, torch.float64)
    by_species = SpeciesLinear(2, layout, layout, torch.float64)
    for out in (plain(x).detach(), by_species(x, torch.arange(40) % 2).detach()):
        for start, block in zip(layout.offsets, layout, strict=True):
            assert out[:, start : start + block.dim].var().item() == pytest.approx(1.0, abs=0.1)


def silu(x: Tensor) -> Tensor:
    return NormalizedActivation("silu")(x)


def test_gate_by_hand():
    gate = Gate(Layout.parse("2x0e+1x0o+3x1o+1x2e"))
    assert str(gate.layout_in) == "6x0e+1x0o+3x1o+1x2e"
    x = normal(4, gate.layout_in.dim)
    scalars, odd, vectors, tensors = x[:, :6], x[:, 6:7], x[:, 7:16].view(4, 3, 3), x[:, 16:]
    expected = [
        silu(scalars[:, :2]),
        NormalizedActivation("tanh")(odd),
        (vectors * silu(scalars[:, 2:5]).unsqueeze(1)).flatten(1),
        tensors * silu(scalars[:, 5:6]),
    ]
    assert relative_error(gate(x), torch.cat(expected, dim=1)) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("layout", ["3x0e", "2x0e+1x0o", "1x0o+2x1o", "2x1o"])
def test_gate_of_less(layout):
    """Scalars alone need no gates; and gates need no scalars in the output."""
    gate = Gate(Layout.parse(layout))
    out = gate(normal(4, gate.layout_in.dim))
    assert out.shape == (4, gate.layout_out.dim)
    assert (out != 0).all()


def test_even_scalars_come_first_in_a_gate():
    with pytest.raises(ValueError, match="even scalars must come first in 3x1o"):
        Gate(Layout.parse("3x1o+2x0e"))


def interaction(self_connection: bool) -> tuple[Interaction, tuple[Tensor, Tensor, Tensor, Tensor, EdgeTopology]]:
    spec = ConvSpec.all_paths(LAYOUT_IN, 2, [(0, 1), (1, -1), (2, 1)])
    torch.manual_seed(0)
    block = Interaction(spec, LAYOUT_IN, 3, [6, 8], 3.0, "species" if self_connection else "none", False, torch.float64)
    senders, receivers = torch.randint(0, 5, (2, 12), generator=torch.Generator().manual_seed(0))
    topology = edge_topology(senders, receivers.sort().values, 5)
    return block, (normal(5, LAYOUT_IN.dim), SPECIES_OF, normal(12, 9), normal(12, 6), topology)


def blocks() -> dict[str, tuple[nn.Module, tuple]]:
    x = normal(5, LAYOUT_IN.dim)
    gate = Gate(Layout.parse("2x0e+1x0o+3x1o"))
    return {
        "linear": (EquivariantLinear(LAYOUT_IN, LAYOUT_OUT, torch.float64), (x,)),
        "species linear": (SpeciesLinear(3, LAYOUT_IN, LAYOUT_OUT, torch.float64), (x, SPECIES_OF)),
        "gate": (gate, (normal(5, gate.layout_in.dim),)),
        "gate of scalars": (Gate(Layout.parse("3x0e")), (normal(5, 3),)),
        "interaction": interaction(self_connection=True),
        "interaction, no self-connection": interaction(self_connection=False),
    }


@pytest.mark.parametrize("name", blocks())
def test_script_equals_eager(name):
    module, inputs = blocks()[name]
    scripted = torch.jit.script(module)
    expected = module(*inputs)
    for _ in range(3):
        assert relative_error(scripted(*inputs), expected) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("name", ["interaction", "interaction, no self-connection"])
def test_export_equals_eager(name):
    module, inputs = blocks()[name]
    rows = {0: torch.export.Dim.DYNAMIC}
    shapes = (rows, rows, rows, rows, EdgeTopology(rows, rows, rows, rows, rows))
    program = torch.export.export(module, inputs, dynamic_shapes=shapes).module()
    x, species, y, basis, _ = inputs
    two = edge_topology(torch.tensor([1, 0, 1]), torch.tensor([0, 1, 1]), 2)
    for case in (inputs, (x[:2], species[:2], y[:3], basis[:3], two)):
        assert relative_error(program(*case), module(*case)) <= TOLERANCES[torch.float64]


def test_interaction_divides_by_the_root_of_the_neighbours():
    block, inputs = interaction(self_connection=False)
    doubled, _ = interaction(self_connection=False)
    doubled.norm = block.norm * 2
    doubled.linear_out.load_state_dict({k: v / 2 for k, v in block.linear_out.state_dict().items()})
    assert block.norm == pytest.approx(3.0**-0.5)
    assert relative_error(doubled(*inputs), block(*inputs)) <= TOLERANCES[torch.float64]


def test_interaction_without_edges_is_the_self_connection():
    block, (x, species, y, basis, _) = interaction(self_connection=True)
    none = torch.zeros(0, dtype=torch.int64)
    out = block(x, species, y[:0], basis[:0], edge_topology(none, none, 5))
    assert block.self_connection is not None
    assert torch.equal(out, block.gate(block.self_connection(x, species)))


def test_blocks_are_made_in_the_dtype_asked_for():
    spec = ConvSpec.all_paths(LAYOUT_IN, 1, [(0, 1)])
    single = Interaction(spec, Layout.parse("2x0e"), 2, [4], 1.0, "species", False, torch.float32)
    assert {p.dtype for p in (*single.parameters(), *single.buffers()) if p.is_floating_point()} == {torch.float32}
