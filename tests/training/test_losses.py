import dataclasses

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from ase.io import read

from equinet.data import Subset, compute_statistics, make_example, read_records
from equinet.errors import DataWarning, InputError
from equinet.models import NequIPArchitecture, Potential
from equinet.training.batch import make_batch
from equinet.training.losses import (
    Loss,
    LossScales,
    LossSettings,
    SecondStage,
    TermWeights,
    check_labelled,
    loss_scales,
    residuals,
    weighted,
)
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
    return make_batch([make_example(record, CUTOFF) for record in records], [record.source for record in records])


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


UNITS = LossScales(1.0, 1.0, 1.0)


class Scaled(Loss):
    """A loss with scales of the test's own."""

    def __init__(self, settings, scales=UNITS):
        self.scales = scales
        self.settings = settings
        self._by_element = torch.ones(119, dtype=torch.float64)
        for symbol, weight in settings.force_weight_by_element.items():
            self._by_element[atomic_numbers[symbol]] = weight


def terms_of(loss, prediction, batch):
    errors = residuals(prediction, batch.labels, batch.graph)
    penalties = loss.penalties(errors, batch.labels, batch.graph)
    return weighted(loss.settings.final_weights, penalties, batch.totals)


SCALES = LossScales(energy=0.1, forces=0.7, stress=0.01)


def test_loss_is_the_weighted_mean_square_of_what_is_labelled(potential, records):
    loss = Scaled(LossSettings(energy=2.0, forces=3.0, stress=5.0), SCALES)
    batch = batch_of(records)
    terms = terms_of(loss, potential(batch.graph), batch)
    energy, forces, stress = reference_errors(potential, records)
    assert terms[0].item() == pytest.approx(2.0 * np.mean((energy / 0.1) ** 2), rel=1e-10)
    assert terms[1].item() == pytest.approx(3.0 * np.mean((forces / 0.7) ** 2), rel=1e-10)
    assert terms[2].item() == pytest.approx(5.0 * np.mean((stress / 0.01) ** 2), rel=1e-10)


def test_absolute_errors_norms_and_huber(potential, records):
    batch = batch_of(records)
    prediction = potential(batch.graph)
    energy, forces, stress = reference_errors(potential, records)
    absolute = Scaled(LossSettings(energy_form="mae", force_form="mae", stress_form="mae"), SCALES)
    terms = terms_of(absolute, prediction, batch)
    for term, error, scale in zip(terms, (energy, forces, stress), (0.1, 0.7, 0.01), strict=True):
        assert term.item() == pytest.approx(np.abs(error).mean() / scale, rel=1e-10)
    norm = terms_of(Scaled(LossSettings(force_form="norm"), SCALES), prediction, batch)
    assert norm[1].item() == pytest.approx(np.linalg.norm(forces.reshape(-1, 3), axis=1).mean() / 0.7, rel=1e-10)

    deltas = {name: float(np.median(np.abs(e))) for name, e in (("e", energy), ("f", forces), ("s", stress))}
    settings = LossSettings(
        energy_form="huber",
        force_form="huber",
        stress_form="huber",
        huber_energy_ev_per_atom=deltas["e"],
        huber_force_ev_per_angstrom=deltas["f"],
        huber_stress_ev_per_a3=deltas["s"],
    )
    terms = terms_of(Scaled(settings), prediction, batch)
    for term, error, delta in zip(terms, (energy, forces, stress), deltas.values(), strict=True):
        expected = 2.0 * torch.nn.functional.huber_loss(torch.tensor(error), torch.zeros(len(error)), delta=delta)
        assert term.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("form", ["mse", "mae", "huber", "norm"])
def test_gradients_are_finite_where_an_error_is_zero(potential, records, form):
    batch = batch_of(records[:1])
    prediction = potential(batch.graph)
    exact = batch.labels._replace(forces=prediction.forces.detach(), energy=prediction.energy.detach())
    weights = [p for p in potential.parameters() if p.requires_grad]
    terms = terms_of(Scaled(LossSettings(force_form=form)), prediction, batch._replace(labels=exact))
    for gradient in torch.autograd.grad(terms.sum(), weights, retain_graph=True):
        assert torch.isfinite(gradient).all()


def test_frames_and_elements_have_weights(potential, records):
    labelled = [record for record in records if record.forces is not None]
    weights = np.linspace(0.5, 2.0, len(labelled))
    batch = make_batch(
        [make_example(r, CUTOFF, weight=w) for r, w in zip(labelled, weights, strict=True)], [""] * len(labelled)
    )
    loss = Scaled(LossSettings(force_weight_by_element={"Cu": 0.25, "H": 3.0}))
    terms = terms_of(loss, potential(batch.graph), batch)
    total, atoms = 0.0, 0
    for record, weight in zip(labelled, weights, strict=True):
        error = potential(batch_of([record]).graph).forces.detach().numpy() - record.forces
        by_element = np.array([{29: 0.25, 1: 3.0}.get(int(z), 1.0) for z in record.numbers])
        total += weight * (by_element * (error**2).mean(axis=1)).sum()
        atoms += len(record.numbers)
    assert terms[1].item() == pytest.approx(total / atoms, rel=1e-10)


def test_ragged_batches_of_one_step_sum_to_the_loss_of_all_at_once(potential, records):
    """What processes and accumulated batches contribute: every atom counts alike, in whatever batch it is."""
    whole = batch_of(records)
    loss = Scaled(LossSettings())
    together = terms_of(loss, potential(whole.graph), whole)
    parts = [batch_of(records[i:j])._replace(totals=whole.totals) for i, j in ((0, 1), (1, 5), (5, len(records)))]
    assert len({len(part.graph.numbers) for part in parts}) > 1
    summed = torch.stack([terms_of(loss, potential(part.graph), part) for part in parts]).sum(dim=0)
    torch.testing.assert_close(summed, together, rtol=1e-12, atol=0.0)


def test_weights_change_at_the_second_stage():
    late = SecondStage(start=0.6, energy=10.0, forces=2.0, stress=3.0, lr_factor=0.1)
    settings = LossSettings(second_stage=late)
    assert settings.weights(0.59) == TermWeights(1.0, 1.0, 1.0)
    assert settings.weights(0.6) == TermWeights(10.0, 2.0, 3.0, 0.1) == settings.final_weights


def test_missing_labels_and_padded_cells_leave_gradients_finite(potential, records):
    potential.train()
    batch = batch_of(records)
    broken = batch.labels._replace(
        energy=torch.where(batch.labels.has_energy, batch.labels.energy, torch.nan),
        virial=torch.where(batch.labels.has_virial[:, None, None], batch.labels.virial, torch.nan),
    )
    potential.zero_grad()
    terms_of(Scaled(LossSettings()), potential(batch.graph), batch._replace(labels=broken)).sum().backward()
    gradients = {name: p.grad for name, p in potential.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())


def test_a_batch_without_a_kind_of_label_has_that_term_zero(potential, records):
    only_forces = [record for record in records if record.energy is None and record.virial is None]
    assert only_forces
    batch = batch_of(only_forces)
    terms = terms_of(Scaled(LossSettings()), potential(batch.graph), batch)
    assert terms[0].item() == 0.0
    assert terms[2].item() == 0.0
    assert terms[1].item() > 0.0


def test_stress_of_the_slab_is_not_compared(potential, records):
    slab = [record for record in records if not record.pbc.all() and record.pbc.any()]
    batch = batch_of(slab)
    labels = batch.labels._replace(has_virial=torch.ones(len(slab), dtype=torch.bool))
    assert not residuals(potential(batch.graph), labels, batch.graph).has_stress.any()


def test_scales_are_label_rms_with_floors_or_one(records):
    statistics = compute_statistics(records, CUTOFF)
    scales = loss_scales(statistics, LossSettings())
    assert scales == LossScales(statistics.energy_rms_per_atom, statistics.force_rms, statistics.stress_rms)
    assert loss_scales(statistics, LossSettings(units="raw")) == LossScales(1.0, 1.0, 1.0)
    perfect = read(records[0].source.rsplit(" frame", 1)[0], index=0)
    assert len(perfect) == 4
    single = compute_statistics([records[0]], CUTOFF)
    assert single.energy_rms_per_atom < 1e-6
    assert loss_scales(single, LossSettings()).energy == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ({"energy": -1.0}, "energy"),
        ({"forces": float("nan")}, "forces"),
        ({"energy": 0, "forces": 0, "stress": 0}, "all"),
        ({"huber_force_ev_per_angstrom": 0.0}, "huber_force_ev_per_angstrom"),
        ({"huber_force_ev_per_angstrom": 0.5}, "no effect with model.loss.force_form mse"),
        ({"huber_stress_ev_per_a3": 0.5, "energy_form": "huber"}, "no effect with model.loss.stress_form mse"),
        ({"force_weight_by_element": {"Xx": 1.0}}, "Xx"),
        ({"force_weight_by_element": {"H": -1.0}}, "H"),
    ],
)
def test_senseless_weights_are_refused(weights, word):
    with pytest.raises(InputError, match=word):
        LossSettings(**weights)


@pytest.mark.parametrize("values", [{"start": 1.0}, {"energy": -1.0}, {"lr_factor": 0.0}])
def test_a_senseless_second_stage_is_refused(values):
    with pytest.raises(InputError, match="second_stage"):
        SecondStage(**values)


def test_metrics_are_exact_whatever_the_batches(potential, records):
    energy, forces, stress = reference_errors(potential, records)
    loss = Scaled(LossSettings(), LossScales(0.1, 0.7, 1.0))
    for size in (2, 4, len(records)):
        sums = ErrorSums()
        for start in range(0, len(records), size):
            batch = batch_of(records[start : start + size])
            errors = residuals(potential(batch.graph), batch.labels, batch.graph)
            sums.update(errors, loss.penalties(errors, batch.labels, batch.graph))
        values = sums.compute()
        assert values["energy_mae_mev_per_atom"] == pytest.approx(1e3 * np.abs(energy).mean(), rel=1e-10)
        assert values["energy_rmse_mev_per_atom"] == pytest.approx(1e3 * np.sqrt((energy**2).mean()), rel=1e-10)
        assert values["force_mae_mev_per_angstrom"] == pytest.approx(1e3 * np.abs(forces).mean(), rel=1e-10)
        assert values["force_rmse_mev_per_angstrom"] == pytest.approx(1e3 * np.sqrt((forces**2).mean()), rel=1e-10)
        assert values["stress_mae_gpa"] == pytest.approx(EV_PER_A3_IN_GPA * np.abs(stress).mean(), rel=1e-10)
        assert values["stress_rmse_mev_per_a3"] == pytest.approx(1e3 * np.sqrt((stress**2).mean()), rel=1e-10)
        expected = np.mean((energy / 0.1) ** 2) + 2 * np.mean((forces / 0.7) ** 2)
        assert sums.loss(TermWeights(1.0, 2.0, 0.0)) == pytest.approx(expected, rel=1e-10)
    sums.reset()
    assert sums.compute() == {}


def test_weights_are_compared_with_the_labels_there_are(records):
    def of(*labels):
        lost = {"energy", "forces", "virial"} - set(labels)
        return Subset([dataclasses.replace(records[0], **dict.fromkeys(lost))], [0])

    full = of("energy", "forces", "virial")
    check_labelled(LossSettings(), full, full)
    check_labelled(LossSettings(), of("energy", "forces"), of("energy", "forces"))  # a molecule has no stress
    forces_alone = LossSettings(energy=0.0, stress=0.0)
    check_labelled(forces_alone, full, None)
    with pytest.raises(InputError, match=r"no frame to validate on has forces, .* no epoch could be found the best"):
        check_labelled(forces_alone, full, of("energy"))
    with pytest.raises(InputError, match="no frame to validate on has energy"):  # the weights of the end count
        check_labelled(LossSettings(second_stage=SecondStage(forces=0.0, stress=0.0)), full, of("forces"))
    for settings, train, val, message in (
        (LossSettings(), of("energy"), of("energy"), "no frame to train on has forces, which"),
        (LossSettings(stress=2.0), of("energy", "forces"), None, "no frame to train on has stress"),
        (LossSettings(), full, of("energy"), "no frame to validate on has forces or stress, which is trained"),
    ):
        with pytest.warns(DataWarning, match=message) as caught:
            check_labelled(settings, train, val)
        assert len(caught) == 1
