import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch
from ase.build import bulk
from scipy.spatial.transform import Rotation

from equinet.errors import DataWarning, InputError
from equinet.graph import collate
from equinet.models import NequIPArchitecture, Potential
from equinet.uncertainty import Committee, FitSettings, fit_uncertainty, judge
from equinet.uncertainty.fit import LEAST_FRAMES
from equinet.uncertainty.support import FeatureMoments, with_limits
from tests.uncertainty.conftest import frames, graph_of, labelled, record_of, small_potential, structure


@pytest.fixture(scope="module")
def last_layer(potential, sets):
    return fit_uncertainty([potential], sets["training"], sets["calibration"])


@pytest.fixture(scope="module")
def committee(potential, sets):
    members = [potential, *(small_potential(seed) for seed in (4, 5))]
    return fit_uncertainty(members, sets["training"], sets["calibration"])


def with_noise(records, uncertainty, factor, seed):
    """Labels that are off by what the uncertainty says, times a factor."""
    rng = np.random.default_rng(seed)
    noisy = []
    for record in records:
        potential = uncertainty.source.potentials[0]
        estimate = uncertainty.estimate(graph_of(_atoms(record), potential))
        forces = estimate.prediction.forces.numpy()
        noise = factor * estimate.forces_std[:, None] * rng.normal(size=forces.shape)
        energy = float(estimate.prediction.energy) + factor * estimate.energy_std[0] * rng.normal()
        noisy.append(dataclasses.replace(record, energy=energy, forces=forces + noise))
    return noisy


def _atoms(record):
    from ase import Atoms

    return Atoms(record.numbers, record.positions, cell=record.cell, pbc=record.pbc)


def test_errors_that_are_as_predicted_are_covered(potential, sets, last_layer):
    """Calibrated anew on labels three times as wrong: factors are thrice as large, and every score is right."""
    sharp = dataclasses.replace(
        last_layer,
        calibrations={name: dataclasses.replace(one, share=0.0) for name, one in last_layer.calibrations.items()},
    )
    calibration = with_noise(sets["calibration"], sharp, 3.0, 1)
    again = fit_uncertainty([potential], sets["training"], calibration)
    before, after = sharp.calibrations["forces, sigma"], again.calibrations["forces, sigma"]
    assert after.share == 0.0
    assert after.factor == pytest.approx(3.0 * before.factor, rel=0.1)
    verdict = judge(again, with_noise(sets["judged"], sharp, 3.0, 2))
    scores = verdict.forces.methods
    assert scores["sigma"].coverage_68 == pytest.approx(0.683, abs=0.05)
    assert scores["sigma"].coverage_95 == pytest.approx(0.95, abs=0.03)
    assert scores["sigma"].z_rms == pytest.approx(1.0, abs=0.1)
    assert scores["sigma"].crps < min(scores[method].crps for method in scores if method != "sigma")
    assert verdict.energy.methods["sigma"].z_rms == pytest.approx(1.0, abs=0.4)
    assert verdict.frames_used_before == 0
    assert judge(again, calibration).frames_used_before == len(calibration)


def test_committee_is_mean_and_spread_of_its_models(committee):
    graph = collate([graph_of(structure(7), small_potential()), graph_of(structure(8), small_potential())])
    spread = committee.source(graph)
    singles = [small_potential(seed)(graph) for seed in (3, 4, 5)]
    for name in ("energy", "forces", "virial", "stress", "atom_energies"):
        mean = torch.stack([getattr(one, name) for one in singles]).mean(dim=0)
        torch.testing.assert_close(getattr(spread.prediction, name), mean, rtol=1e-12, atol=1e-12)
    energies = np.stack([one.energy.numpy() for one in singles])
    assert spread.energy.numpy() == pytest.approx(energies.var(axis=0, ddof=1))
    forces = np.stack([one.forces.numpy() for one in singles])
    assert spread.forces.numpy() == pytest.approx(forces.var(axis=0, ddof=1).mean(axis=1))
    stress = np.stack([one.stress.numpy() for one in singles])
    assert spread.stress.numpy() == pytest.approx(stress.var(axis=0, ddof=1).mean(axis=(1, 2)))


def test_a_batch_is_its_structures(last_layer, committee, potential):
    graphs = [graph_of(structure(seed), potential) for seed in (7, 8)]
    for uncertainty in (last_layer, committee):
        together = uncertainty.estimate(collate(graphs))
        singles = [uncertainty.estimate(graph) for graph in graphs]
        for name in ("energy_std", "forces_std", "support"):
            assert getattr(together, name) == pytest.approx(
                np.concatenate([getattr(single, name) for single in singles]), rel=1e-9
            )


def test_support_tells_what_is_outside(last_layer, potential, sets):
    inside = [last_layer.estimate(graph_of(structure(seed), potential)) for seed in range(300, 320)]
    outside = [last_layer.estimate(graph_of(structure(seed, 0.6), potential)) for seed in range(300, 305)]
    support = np.concatenate([estimate.support for estimate in inside])
    assert (support > 1.0).mean() < 0.03
    assert np.median(np.concatenate([estimate.support for estimate in outside])) > 1.5
    assert np.mean([e.forces_std.mean() for e in outside]) > 2 * np.mean([e.forces_std.mean() for e in inside])


def test_an_element_that_was_not_in_training_is_outside():
    torch.manual_seed(0)
    potential = Potential(
        NequIPArchitecture(cutoff=3.2, layers=2, l_max=1, channels=6, mean_neighbors=6.0),
        species=[6, 14, 32],
        isolated_energies=[-10.0, -20.0, -30.0],
        scale=2.0,
        dtype=torch.float64,
    ).requires_grad_(False)
    records = [record_of(atoms) for atoms in frames(potential.eval(), range(12))]
    uncertainty = fit_uncertainty([potential], records[:2], records[2:])
    atoms = structure(20)
    atoms.numbers[0] = 32
    assert np.isinf(uncertainty.estimate(graph_of(atoms, potential)).support[0])


def test_distances_are_mahalanobis_and_limits_a_quantile():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    features = torch.randn(2000, 4, generator=generator, dtype=torch.float64) @ mixing + 100.0
    species = torch.zeros(2000, dtype=torch.int64)
    moments = FeatureMoments(2, 4)
    for part in features.split(300):
        moments.add(part, species[: len(part)])
    support = moments.support()
    new = torch.randn(5000, 4, generator=generator, dtype=torch.float64) @ mixing + 100.0
    species = torch.zeros(5000, dtype=torch.int64)
    distances = support.distances(new, species)
    covariance = np.cov(features.numpy().T, bias=True)
    floor = 1e-4 * np.trace(covariance) / 4 * np.eye(4)
    centred = new.numpy() - features.numpy().mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance + floor), centred) ** 0.5
    assert distances.numpy() == pytest.approx(expected, rel=1e-6)
    scored = with_limits(support, distances, species)
    assert float((scored.scores(distances, species) > 1.0).double().mean()) == pytest.approx(0.001, abs=2e-4)
    assert torch.isinf(scored.distances(new[:1], torch.ones(1, dtype=torch.int64))).all()
    nearest = torch.cdist(support.whitened(new[:9], species[:9]), support.references).amin(dim=1)
    torch.testing.assert_close(support.nearest(new[:9], species[:9]), nearest)


def test_few_force_frames_and_directions_are_near_all(potential, sets, last_layer):
    few = fit_uncertainty([potential], sets["training"], sets["calibration"], FitSettings(samples=5, force_frames=15))
    graph = graph_of(structure(7), potential)
    ratio = few.estimate(graph).forces_std / last_layer.estimate(graph).forces_std
    assert np.abs(np.log(ratio)).max() < 0.4
    assert np.abs(np.log(ratio)).max() > 1e-6


def test_calibration_on_training_frames_is_refused(potential, sets):
    with pytest.raises(InputError, match="and 2 more calibration frames are training frames too"):
        fit_uncertainty([potential], sets["training"], [*sets["calibration"], *sets["training"][:3]])


def test_calibration_needs_both_labels_and_wants_many(potential, sets):
    no_energy = [dataclasses.replace(record, energy=None) for record in sets["calibration"]]
    with pytest.raises(InputError, match="no calibration frame has a label of the energy"):
        fit_uncertainty([potential], sets["training"], no_energy)
    with pytest.raises(InputError, match="there are no training frames"):
        fit_uncertainty([potential], [], sets["calibration"])
    with pytest.warns(DataWarning, match="5 calibration frames are few"):
        fit_uncertainty([potential], sets["training"][:3], sets["calibration"][:5])


def test_calibration_needs_five_different_frames(potential, sets):
    """A factor from fewer is off by two or more in about one case of ten, and with one frame in almost every other."""
    calibration = sets["calibration"]
    few_forces = [dataclasses.replace(record, forces=None) for record in calibration[4:]]
    for records, name, count in (
        (calibration[:1], "energy", 1),
        (calibration[:4], "energy", 4),
        ([*calibration[:4], calibration[0]], "energy", 4),
        ([*calibration[:4], *few_forces], "forces", 4),
    ):
        with pytest.raises(InputError, match=f"a label of the {name}: {count}; .* give 5 at least"):
            fit_uncertainty([potential], sets["training"], records)
    odds = [scipy.stats.chi2.cdf(n / 4, n) + scipy.stats.chi2.sf(4 * n, n) for n in (1, 3, 4, LEAST_FRAMES, 10)]
    assert np.round(np.multiply(100, odds)).tolist() == [43, 15, 9, 6, 1]


@pytest.mark.parametrize("members", [1, 2])
def test_calibration_needs_something_to_tell(potential, sets, members):
    """Crystals without displacements have no forces, whatever the model."""
    crystals = []
    for lattice_constant in np.linspace(4.2, 4.5, 10):
        atoms = bulk("SiC", "zincblende", a=lattice_constant, cubic=True)
        crystals.append(record_of(labelled(atoms, potential, np.random.default_rng(0), noise=0.0)))
    models = [potential, small_potential(4)][:members]
    with pytest.raises(InputError, match="nothing is uncertain about the forces of the calibration frames"):
        fit_uncertainty(models, sets["training"][:5], crystals)
    fit_uncertainty(models, sets["training"][:5], [*crystals, sets["calibration"][0]])


def test_frames_without_some_labels_still_count(potential, sets):
    mixed = [
        dataclasses.replace(record, **{"energy" if number % 2 else "forces": None})
        for number, record in enumerate(sets["calibration"])
    ]
    verdict = judge(fit_uncertainty([potential], sets["training"], mixed), mixed)
    assert sum(each.count for each in verdict.energy.methods["sigma"].bins) == 15
    assert sum(each.count for each in verdict.forces.methods["sigma"].bins) == 15 * 8


def test_members_must_fit_together():
    with pytest.raises(InputError, match="two models at least"):
        Committee([small_potential()])
    with pytest.raises(InputError, match="the same elements and the same cutoff"):
        Committee([small_potential(), small_potential(cutoff=3.0)])
    with pytest.raises(InputError, match="a and c are the same model, which cannot disagree with itself"):
        Committee([small_potential(), small_potential(4), small_potential()], ["a", "b", "c"])


def test_last_layer_variances_grow_with_the_distance_to_training(last_layer, committee, potential):
    """By the square of the atom's own distance for forces, of the mean for energies; a committee's do not."""
    graph = graph_of(structure(7, 0.4), potential)
    for uncertainty, grows in ((last_layer, True), (committee, False)):
        spread = uncertainty.source(graph)
        distances = uncertainty.support.distances(spread.features, uncertainty.species(graph)).numpy()
        square = np.square(distances) if grows else np.ones(8)
        estimate = uncertainty.estimate(graph)
        forces, energy = (uncertainty.calibrations[f"{quantity}, sigma"] for quantity in ("forces", "energy"))
        mixed = (1 - forces.share) * spread.forces.numpy() * square + forces.share * forces.typical
        assert estimate.forces_std == pytest.approx(forces.factor * np.sqrt(mixed))
        per_atom = (1 - energy.share) * spread.energy.numpy() / 8 * square.mean() + energy.share * energy.typical
        assert estimate.energy_std == pytest.approx(energy.factor * np.sqrt(8 * per_atom))


def test_error_bars_do_not_turn_with_the_structure(last_layer, committee, potential):
    atoms = structure(7)
    turned = atoms.copy()
    rotation = Rotation.random(rng=np.random.default_rng(5)).as_matrix()
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    for uncertainty in (last_layer, committee):
        one, other = (uncertainty.estimate(graph_of(each, potential)) for each in (atoms, turned))
        for name in ("energy_std", "forces_std", "support"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)
