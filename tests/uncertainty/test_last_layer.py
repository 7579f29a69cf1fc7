"""The covariance of the last layer is that of Bayesian linear regression, whatever the way it is summed."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equinet.graph import atoms_per_graph, collate
from equinet.uncertainty.last_layer import (
    LastLayer,
    Precision,
    readout_width,
    sampled_directions,
    square_root_of_covariance,
)
from tests.models.conftest import POTENTIALS
from tests.uncertainty.conftest import graph_of, small_potential, structure


@pytest.fixture(scope="module")
def graphs(potential):
    return [graph_of(structure(seed), potential) for seed in range(6)]


def rows_by_finite_differences(potential, graph, step=1e-3):
    """Derivatives of every energy per atom, force and stress component by every weight of the last layer."""
    weights = potential.model.last.weights[0]
    columns = []
    for number in range(len(weights)):
        answers = []
        for sign in (1.0, -1.0):
            weights[number] += sign * step
            answers.append(potential(graph))
            weights[number] -= sign * step
        plus, minus = answers
        per_atom = (plus.energy - minus.energy) / atoms_per_graph(graph)
        rows = (per_atom, (plus.forces - minus.forces).flatten(), (plus.stress - minus.stress).flatten())
        columns.append([row / (2 * step) for row in rows])
    return [torch.stack(list(column), dim=1) for column in zip(*columns, strict=True)]


def test_precision_is_the_sum_of_squared_derivatives(potential, graphs):
    precision = Precision(potential)
    for graph in (collate(graphs[:4]), collate(graphs[4:])):
        precision.add(graph)
    expected = torch.zeros_like(precision.matrix)
    for rows in rows_by_finite_differences(potential, collate(graphs)):
        squares = rows.T @ rows
        expected += squares / squares.trace()
    torch.testing.assert_close(precision.matrix, expected, rtol=1e-6, atol=1e-9)


def test_kinds_without_labels_do_not_count(potential, graphs):
    precision = Precision(potential, labels=(False, True, False))
    precision.add(collate(graphs))
    _, forces, _ = rows_by_finite_differences(potential, collate(graphs))
    squares = forces.T @ forces
    torch.testing.assert_close(precision.matrix, squares / squares.trace(), rtol=1e-6, atol=1e-9)


def test_variances_are_those_of_bayesian_linear_regression(potential, graphs):
    """Against the textbook: C = (X^T X / s^2 + prior)^-1, variance of a new value x^T C x, by an independent solve."""
    precision = Precision(potential)
    precision.add(collate(graphs[:5]))
    matrix = precision.matrix
    root = square_root_of_covariance(matrix, regulariser=0.01)
    covariance = torch.linalg.inv(matrix + 0.01 * matrix.trace() / len(matrix) * torch.eye(len(matrix)))
    torch.testing.assert_close(root.T @ root, covariance)
    spread = LastLayer(potential, root, root)(graphs[5])
    energy, forces, stress = rows_by_finite_differences(potential, graphs[5])
    energy = energy * len(graphs[5].numbers)
    torch.testing.assert_close(spread.energy, ((energy @ covariance) * energy).sum(dim=1), rtol=1e-6, atol=0.0)
    of_components = ((forces @ covariance) * forces).sum(dim=1).view(-1, 3)
    torch.testing.assert_close(spread.forces, of_components.mean(dim=1), rtol=1e-6, atol=1e-12)
    of_stress = ((stress @ covariance) * stress).sum(dim=1)
    torch.testing.assert_close(spread.stress, of_stress.mean()[None], rtol=1e-5, atol=0.0)


def test_posterior_of_the_weights_themselves():
    """Weights drawn from the prior, data with noise: standardised errors of the posterior mean have unit variance."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(400):
        x = rng.normal(size=(20, 4)) * [3.0, 1.0, 0.3, 0.1]
        weights = rng.normal(size=4)
        noise = 0.5
        matrix = torch.as_tensor(x.T @ x / noise**2 + np.eye(4))
        y = x @ weights + noise * rng.normal(size=20)
        mean = np.linalg.solve(matrix.numpy(), x.T @ y / noise**2)
        new = rng.normal(size=4)
        sigma = float((square_root_of_covariance(matrix, regulariser=0.0) @ torch.as_tensor(new)).norm())
        errors.append(new @ (mean - weights) / sigma)
    assert np.mean(np.square(errors)) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 400))


def test_sampled_directions_are_exact_in_the_mean_and_with_all_of_them():
    root = square_root_of_covariance(torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64)))
    covariance = root.T @ root
    full = sampled_directions(root, 8)
    torch.testing.assert_close(full.T @ full, covariance)
    one = sampled_directions(root, 3, seed=0)
    assert one.shape == (3, 8)
    assert (one.T @ one - covariance).abs().max() > 0.05 * covariance.max()
    mean = torch.stack([d.T @ d for d in (sampled_directions(root, 3, seed) for seed in range(4000))]).mean(dim=0)
    torch.testing.assert_close(mean, covariance, rtol=0.0, atol=0.03 * float(covariance.max()))


def test_more_directions_come_nearer(potential, graphs):
    precision = Precision(potential)
    precision.add(collate(graphs))
    root = square_root_of_covariance(precision.matrix)
    exact = LastLayer(potential, root, root)(graphs[0]).forces

    def error(samples):
        errors = []
        for seed in range(6):
            sampled = LastLayer(potential, root, sampled_directions(root, samples, seed))(graphs[0])
            errors.append((sampled.forces / exact - 1).square().mean())
            torch.testing.assert_close(sampled.energy, LastLayer(potential, root, root)(graphs[0]).energy)
        return float(torch.stack(errors).mean() ** 0.5)

    assert error(1) > 1.3 * error(3) > 1.3 * error(5) > 0.01
    assert error(6) < 1e-12


def test_variances_do_not_turn_with_the_structure(potential):
    """The trace of each atom's 3 x 3 covariance: that of single components turns, so the test can fail."""
    precision = Precision(potential)
    precision.add(graph_of(structure(0), potential))
    root = square_root_of_covariance(precision.matrix)
    source = LastLayer(potential, root, sampled_directions(root, 4))
    atoms = structure(1)
    turned = atoms.copy()
    rotation = Rotation.random(rng=np.random.default_rng(5)).as_matrix()
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    spread, again = source(graph_of(atoms, potential)), source(graph_of(turned, potential))
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(spread, name), getattr(again, name), rtol=1e-9, atol=1e-15)
    single = [
        potential.with_readout_derivatives(graph_of(one, potential), source.directions)[1]
        .forces[..., 0]
        .square()
        .sum(0)
        for one in (atoms, turned)
    ]
    assert (single[0] / single[1] - 1).abs().max() > 0.1


@pytest.mark.parametrize("name", list(POTENTIALS))
def test_derivatives_of_every_model(name):
    potential = POTENTIALS[name](torch.float64).requires_grad_(False)
    graph = graph_of(structure(2), potential)
    directions = torch.eye(readout_width(potential), dtype=torch.float64)
    prediction, derivatives = potential.with_readout_derivatives(graph, directions)
    plain = potential(graph)
    assert torch.equal(prediction.energy, plain.energy)
    assert torch.equal(prediction.forces, plain.forces)
    assert torch.equal(prediction.stress, plain.stress)
    energy, forces, _ = rows_by_finite_differences(potential, graph)
    torch.testing.assert_close(derivatives.features.mean(dim=0)[None], energy, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(derivatives.forces.flatten(1).T, forces, rtol=1e-6, atol=1e-8)


def test_isolated_atoms_have_no_variance():
    """With isolated atoms subtracted their energies do not depend on the weights."""
    potential = small_potential()
    apart = structure(0)[:2]
    apart.positions[:] = [[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]
    apart.pbc = False
    _, derivatives = potential.with_readout_derivatives(graph_of(apart, potential), torch.eye(6, dtype=torch.float64))
    assert derivatives.features.abs().max() < 1e-12
    assert derivatives.forces.abs().max() == 0.0
