import numpy as np
import pytest
import torch
from ase.io import read

from equinet.data import compute_statistics, make_example, read_records
from equinet.errors import InputError
from equinet.models import NequIPArchitecture, Potential
from equinet.training.batch import collate_batch
from equinet.training.losses import LossScales, LossWeights, loss_scales, loss_terms, residuals
from equinet.training.metrics import ErrorSums
from equinet.units import EV_PER_A3_IN_GPA

CUTOFF = 3.2


@pytest.fixture(scope="module")
def records(mixed_file):
    return list(read_records(mixed_file))


@pytest.fixture(scope="module")
def potential(records):
    torch.manual_seed(0)
    statistics = compute_statistics(records, CUTOFF)
    architecture = NequIPArchitecture(
        cutoff=CUTOFF, layers=1, l_max=1, channels=2, num_bessel=3, radial_hidden=[4], mean_neighbors=5.0
    )
    return Potential(architecture, statistics.species, statistics.isolated_energies, 1.0, dtype=torch.float64)


def batch_of(records):
    return collate_batch([(make_example(record, CUTOFF), record.source) for record in records])


def reference_errors(potential, records):
    """Errors frame by frame, in plain numpy."""
    energy, forces, stress = [], [], []
    for record in records:
        graph = batch_of([record]).graph
        prediction = potential(graph)
        if record.energy is not None:
            energy.append((prediction.energy.item() - record.energy) / len(record.numbers))
        if record.forces is not None:
            forces.append((prediction.forces.detach().numpy() - record.forces).ravel())
        if record.stress is not None:
            stress.append((prediction.stress[0].detach().numpy() - record.stress).ravel())
    return np.array(energy), np.concatenate(forces), np.concatenate(stress)


def test_loss_is_the_weighted_mean_square_of_what_is_labelled(potential, records):
    weights = LossWeights(energy=2.0, forces=3.0, stress=5.0)
    scales = LossScales(energy=0.1, forces=0.7, stress=0.01)
    batch = batch_of(records)
    terms = loss_terms(residuals(potential(batch.graph), batch.labels, batch.graph), weights, scales)
    energy, forces, stress = reference_errors(potential, records)
    assert terms.energy.item() == pytest.approx(2.0 * np.mean((energy / 0.1) ** 2), rel=1e-10)
    assert terms.forces.item() == pytest.approx(3.0 * np.mean((forces / 0.7) ** 2), rel=1e-10)
    assert terms.stress.item() == pytest.approx(5.0 * np.mean((stress / 0.01) ** 2), rel=1e-10)


def test_missing_labels_and_padded_cells_leave_gradients_finite(potential, records):
    potential.train()
    batch = batch_of(records)
    broken = batch.labels._replace(
        energy=torch.where(batch.labels.has_energy, batch.labels.energy, torch.nan),
        virial=torch.where(batch.labels.has_virial[:, None, None], batch.labels.virial, torch.nan),
    )
    potential.zero_grad()
    terms = loss_terms(residuals(potential(batch.graph), broken, batch.graph), LossWeights(), LossScales(1.0, 1.0, 1.0))
    (terms.energy + terms.forces + terms.stress).backward()
    gradients = {name: p.grad for name, p in potential.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())


def test_a_batch_without_a_kind_of_label_has_that_term_zero(potential, records):
    only_forces = [record for record in records if record.energy is None and record.virial is None]
    assert only_forces
    batch = batch_of(only_forces)
    terms = loss_terms(
        residuals(potential(batch.graph), batch.labels, batch.graph), LossWeights(), LossScales(1.0, 1.0, 1.0)
    )
    assert terms.energy.item() == 0.0
    assert terms.stress.item() == 0.0
    assert terms.forces.item() > 0.0


def test_stress_of_the_slab_is_not_compared(potential, records):
    slab = [record for record in records if not record.pbc.all() and record.pbc.any()]
    batch = batch_of(slab)
    labels = batch.labels._replace(has_virial=torch.ones(len(slab), dtype=torch.bool))
    assert not residuals(potential(batch.graph), labels, batch.graph).has_stress.any()


def test_scales_are_label_rms_with_floors_or_one(records):
    statistics = compute_statistics(records, CUTOFF)
    scales = loss_scales(statistics, LossWeights())
    assert scales == LossScales(statistics.energy_rms_per_atom, statistics.force_rms, statistics.stress_rms)
    assert loss_scales(statistics, LossWeights(units="raw")) == LossScales(1.0, 1.0, 1.0)
    perfect = read(records[0].source.rsplit(" frame", 1)[0], index=0)
    assert len(perfect) == 4
    single = compute_statistics([records[0]], CUTOFF)
    assert single.energy_rms_per_atom < 1e-6
    assert loss_scales(single, LossWeights()).energy == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ({"energy": -1.0}, "energy"),
        ({"forces": float("nan")}, "forces"),
        ({"energy": 0, "forces": 0, "stress": 0}, "all"),
    ],
)
def test_senseless_weights_are_refused(weights, word):
    with pytest.raises(InputError, match=word):
        LossWeights(**weights)


def test_metrics_are_exact_whatever_the_batches(potential, records):
    energy, forces, stress = reference_errors(potential, records)
    for size in (2, 4, len(records)):
        sums = ErrorSums()
        for start in range(0, len(records), size):
            batch = batch_of(records[start : start + size])
            sums.update(residuals(potential(batch.graph), batch.labels, batch.graph))
        values = sums.compute()
        assert values["energy_mae_mev_per_atom"] == pytest.approx(1e3 * np.abs(energy).mean(), rel=1e-10)
        assert values["energy_rmse_mev_per_atom"] == pytest.approx(1e3 * np.sqrt((energy**2).mean()), rel=1e-10)
        assert values["force_mae_mev_per_angstrom"] == pytest.approx(1e3 * np.abs(forces).mean(), rel=1e-10)
        assert values["force_rmse_mev_per_angstrom"] == pytest.approx(1e3 * np.sqrt((forces**2).mean()), rel=1e-10)
        assert values["stress_mae_gpa"] == pytest.approx(EV_PER_A3_IN_GPA * np.abs(stress).mean(), rel=1e-10)
        assert values["stress_rmse_mev_per_a3"] == pytest.approx(1e3 * np.sqrt((stress**2).mean()), rel=1e-10)
        expected = np.mean((energy / 0.1) ** 2) + 2 * np.mean((forces / 0.7) ** 2)
        loss = sums.loss(LossWeights(1.0, 2.0, 0.0), LossScales(0.1, 0.7, 1.0))
        assert loss == pytest.approx(expected, rel=1e-10)
    sums.reset()
    assert sums.compute() == {}
