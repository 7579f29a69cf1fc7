"""Options of the training step: compiled, with less memory, with fewer digits; gradients against the plain one."""

import pytest
import torch

from equinet.data import collate_examples, compute_statistics, make_example, read_records
from equinet.errors import DataWarning
from equinet.models import NequIPArchitecture, Potential
from equinet.nn import Interaction
from equinet.training.compiled_step import CompiledPotential, trace
from equinet.training.precision import use_bfloat16

CUTOFF = 3.2


@pytest.fixture(scope="module")
def records(mixed_file):
    return [record for record in read_records(mixed_file) if not record.is_isolated_atom]


def potential_of(records, dtype=torch.float64, modals=()):
    torch.manual_seed(0)
    statistics = compute_statistics(records, CUTOFF)
    architecture = NequIPArchitecture(
        cutoff=CUTOFF,
        layers=2,
        l_max=1,
        channels=3,
        num_bessel=3,
        radial_hidden=[4],
        mean_neighbors=5.0,
        modals=list(modals),
    )
    levels = max(1, len(modals))
    energies = [list(statistics.isolated_energies)] * levels if modals else list(statistics.isolated_energies)
    scale = [[1.0] * len(statistics.species)] * levels if modals else 1.0
    return Potential(architecture, list(statistics.species), energies, scale, dtype=dtype).train()


def gradients(predict, potential, graph, modal=None):
    prediction = predict(graph, modal)
    loss = prediction.forces.square().sum() + prediction.virial.square().sum() + prediction.energy.square().sum()
    weights = {name: weight for name, weight in potential.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(loss, list(weights.values()))
    return {"loss": loss.detach()} | dict(zip(weights, found, strict=True))


def largest_difference(a, b):
    return max(float((a[name] - b[name]).abs().max() / a[name].abs().max()) for name in a)


def test_the_compiled_step_has_the_gradients_of_the_plain_one(records):
    """Every parameter's, for batches of other sizes than the traced one; without inductor, which takes minutes."""
    potential = potential_of(records, modals=("PBE", "R2SCAN"))
    compiled = CompiledPotential(potential, backend="aot_eager")
    for chosen in (records[:4], records[2:9]):
        graph = collate_examples([make_example(record, CUTOFF) for record in chosen]).graph
        modal = torch.arange(len(chosen)) % 2
        plain = gradients(potential, potential, graph, modal)
        assert largest_difference(plain, gradients(compiled, potential, graph, modal)) < 1e-10


def test_no_detached_tensor_is_left_in_the_trace(records):
    """Where torch puts them, losses are right and gradients wrong by per cents: equal losses prove nothing."""
    potential = potential_of(records)
    graph = collate_examples([make_example(record, CUTOFF) for record in records[:4]]).graph
    traced = trace(potential, graph, None)
    assert traced.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default) == []


def test_recomputed_weights_have_the_same_gradients(records):
    potential, frugal = potential_of(records), potential_of(records)
    for part in frugal.modules():
        if isinstance(part, Interaction):
            part.recompute_weights()
    graph = collate_examples([make_example(record, CUTOFF) for record in records]).graph
    plain = gradients(potential, potential, graph)
    assert largest_difference(plain, gradients(frugal, frugal, graph)) < 1e-10


def test_bfloat16_is_close_and_warns(records):
    potential, rough = potential_of(records, torch.float32), potential_of(records, torch.float32)
    with pytest.warns(DataWarning, match="bfloat16"):
        use_bfloat16(rough)
    graph = collate_examples([make_example(record, CUTOFF) for record in records]).graph
    exact, rounded = potential(graph), rough(graph)
    assert exact.forces.dtype == rounded.forces.dtype
    error = (exact.forces - rounded.forces).norm() / exact.forces.norm()
    assert 1e-5 < error < 0.05
    for gradient in gradients(rough, rough, graph).values():
        assert torch.isfinite(gradient).all()


@pytest.mark.slow
def test_inductor_has_the_gradients_of_the_plain_step(records):
    potential = potential_of(records)
    compiled = CompiledPotential(potential)
    for chosen in (records[:4], records[2:9]):
        graph = collate_examples([make_example(record, CUTOFF) for record in chosen]).graph
        plain = gradients(potential, potential, graph)
        assert largest_difference(plain, gradients(compiled, potential, graph)) < 1e-10
