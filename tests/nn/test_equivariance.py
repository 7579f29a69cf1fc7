"""Blocks commute with rotations, inversions and the renaming of atoms."""

from typing import NamedTuple

import pytest
import torch
from e3nn import o3
from torch import Tensor

from equinet.nn import EquivariantLinear, Gate, Interaction, SpeciesLinear
from equinet_kernels import ConvSpec, EdgeTopology, Layout, SphericalHarmonics, edge_topology
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.nn.rotations import random_rotation, representation, turned, wigner_matrix

HIDDEN = Layout.parse("6x0e+4x0o+5x1o+3x1e+2x2e+4x2o")
NODES, EDGES, SPECIES, BASIS = 5, 14, 3, 6


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SPECIES_OF = torch.tensor([0, 2, 1, 1, 0])


@pytest.fixture(params=[(0, 1), (1, 1), (2, -1), (3, -1)], ids=["rotation", "rotation'", "inversion", "inversion'"])
def rotation(request) -> Tensor:
    return random_rotation(*request.param)


def test_representation_is_that_of_e3nn(rotation):
    """As far as e3nn's goes: its generators are float32."""
    for l in range(5):
        for p in (1, -1):
            ours, theirs = wigner_matrix(l, p, rotation), o3.Irrep(l, p).D_from_matrix(rotation)
            assert (ours - theirs).abs().max() < 1e-5
            assert (ours @ ours.T - torch.eye(2 * l + 1, dtype=torch.float64)).abs().max() < 1e-12


def test_representation_turns_every_channel(rotation):
    """A block [3, C] of vectors: each column is turned, none is mixed with another."""
    vectors = normal(3, 4)
    row = turned(vectors.flatten().unsqueeze(0), Layout.parse("4x1o"), rotation)
    assert (row.view(3, 4) - rotation @ vectors).abs().max() < 1e-12


def assert_close(a: Tensor, b: Tensor) -> None:
    assert b.abs().max() > 0
    assert relative_error(a, b) <= TOLERANCES[torch.float64]


def test_linear(rotation):
    layout_out = Layout.parse("2x2o+3x0e+5x1e+4x3o")  # another order, a degree that the input lacks
    linear = EquivariantLinear(HIDDEN, layout_out, torch.float64)
    x = normal(NODES, HIDDEN.dim)
    assert_close(linear(turned(x, HIDDEN, rotation)), turned(linear(x), layout_out, rotation))


def test_species_linear(rotation):
    layout_out = Layout.parse("2x2o+3x0e+5x1e+4x3o")
    linear = SpeciesLinear(SPECIES, HIDDEN, layout_out, torch.float64)
    x = normal(NODES, HIDDEN.dim)
    out = linear(turned(x, HIDDEN, rotation), SPECIES_OF)
    assert_close(out, turned(linear(x, SPECIES_OF), layout_out, rotation))


def test_gate(rotation):
    gate = Gate(HIDDEN)
    x = normal(NODES, gate.layout_in.dim)
    assert_close(gate(turned(x, gate.layout_in, rotation)), turned(gate(x), HIDDEN, rotation))


class Round(NamedTuple):
    """An interaction and its input."""

    interaction: Interaction
    layout_in: Layout
    x: Tensor
    directions: Tensor  # [E, 3]
    basis: Tensor
    topology: EdgeTopology

    def __call__(self, x: Tensor, directions: Tensor) -> Tensor:
        return self.interaction(x, SPECIES_OF, SphericalHarmonics(2)(directions), self.basis, self.topology)


def make_round(layout_in: Layout, y_parity: int, self_connection: bool) -> Round:
    targets = [block[1:] for block in HIDDEN] if y_parity == -1 else [(0, 1), (1, 1), (2, 1)]
    spec = ConvSpec.all_paths(layout_in, 2, targets, y_parity)
    reached = {block[1:] for block in spec.out}
    layout_out = Layout(block for block in HIDDEN if block[1:] in reached)
    torch.manual_seed(0)
    connection = "species" if self_connection else "none"
    interaction = Interaction(spec, layout_out, SPECIES, [BASIS, 8], 4.0, connection, False, torch.float64)
    random = torch.Generator().manual_seed(0)
    senders, receivers = torch.randint(0, NODES, (2, EDGES), generator=random)
    directions = torch.nn.functional.normalize(normal(EDGES, 3))
    topology = edge_topology(senders, receivers.sort().values, NODES)
    x = normal(NODES, layout_in.dim, seed=1)
    return Round(interaction, layout_in, x, directions, normal(EDGES, BASIS), topology)


@pytest.mark.parametrize("self_connection", [True, False])
@pytest.mark.parametrize("layout_in", ["4x0e", "6x0e+4x0o+5x1o+3x1e+2x2e+4x2o"])
def test_interaction(layout_in, self_connection, rotation):
    case = make_round(Layout.parse(layout_in), -1, self_connection)
    out = case(turned(case.x, case.layout_in, rotation), case.directions @ rotation.T)
    assert_close(out, turned(case(case.x, case.directions), case.interaction.gate.layout_out, rotation))


def test_interaction_without_parity_turns_but_does_not_invert():
    case = make_round(Layout.parse("4x0e+3x1e+2x2e"), 1, True)
    layout_out = case.interaction.gate.layout_out
    proper, improper = random_rotation(0), random_rotation(0, -1)
    expected = case(case.x, case.directions)
    out = case(turned(case.x, case.layout_in, proper), case.directions @ proper.T)
    assert_close(out, turned(expected, layout_out, proper))
    inverted = case(turned(case.x, case.layout_in, improper), case.directions @ improper.T)
    assert relative_error(inverted, turned(expected, layout_out, improper)) > 1e-2


def test_interaction_takes_atoms_in_any_order():
    case = make_round(HIDDEN, -1, True)
    expected = case(case.x, case.directions)
    order = torch.tensor([3, 0, 4, 1, 2])  # the new atom n is the old atom order[n]
    place = order.argsort()
    senders, receivers = place[case.topology.senders], place[case.topology.receivers]
    edges = receivers.argsort(stable=True)
    topology = edge_topology(senders[edges], receivers[edges], NODES)
    y = SphericalHarmonics(2)(case.directions[edges])
    out = case.interaction(case.x[order], SPECIES_OF[order], y, case.basis[edges], topology)
    assert_close(out, expected[order])


@pytest.mark.parametrize(("layout", "sign"), [("1x0e", 1), ("1x0o", -1), ("2x1o", -1), ("2x1e", 1), ("1x2e", 1)])
def test_parity_of_representations(layout, sign):
    """These tests would be worth nothing if a mistake in the parity went unseen."""
    inversion = -torch.eye(3, dtype=torch.float64)
    expected = sign * torch.eye(Layout.parse(layout).dim, dtype=torch.float64)
    assert (representation(Layout.parse(layout), inversion) - expected).abs().max() < 1e-12
