import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write

from equinet.data import LabelKeys, compute_statistics, read_records
from equinet.errors import InputError
from equinet.models import NequIPArchitecture, Potential
from equinet.training.bootstrap import ErrorTable
from equinet.training.evaluation import compare, evaluate, predict_records
from equinet.training.report import learning_curve, nve_energy, parity, write_report
from equinet.units import EV_PER_A3_IN_GPA


@pytest.fixture(scope="module")
def records(mixed_file):
    return read_records(mixed_file)


@pytest.fixture(scope="module")
def potential(records):
    torch.manual_seed(0)
    statistics = compute_statistics(list(records), 3.2)
    architecture = NequIPArchitecture(
        cutoff=3.2, layers=1, l_max=1, channels=2, num_bessel=3, radial_hidden=[4], mean_neighbors=5.0
    )
    return Potential(architecture, statistics.species, statistics.isolated_energies, 1.0, dtype=torch.float64)


def test_errors_agree_with_a_loop_over_frames(potential, records):
    evaluation = evaluate(potential, records, batch_size=3)
    frames = predict_records(potential, records, batch_size=1)
    assert [frame.record for frame in frames] == list(records)
    per_atom = [(f.energy - f.record.energy) / len(f.forces) for f in frames if f.record.energy is not None]
    total = [f.energy - f.record.energy for f in frames if f.record.energy is not None]
    vectors = np.concatenate([f.forces - f.record.forces for f in frames if f.record.forces is not None])
    stress = np.array([f.stress - f.record.stress for f in frames if f.record.stress is not None])
    expected = {
        "energy_mae_mev_per_atom": 1e3 * np.mean(np.abs(per_atom)),
        "energy_rmse_mev_per_atom": 1e3 * np.sqrt(np.mean(np.square(per_atom))),
        "energy_mae_mev": 1e3 * np.mean(np.abs(total)),
        "force_mae_mev_per_angstrom": 1e3 * np.mean(np.abs(vectors)),
        "force_rmse_mev_per_angstrom": 1e3 * np.sqrt(np.mean(vectors**2)),
        "force_vector_mae_mev_per_angstrom": 1e3 * np.mean(np.linalg.norm(vectors, axis=1)),
        "force_vector_rmse_mev_per_angstrom": 1e3 * np.sqrt(np.mean(np.sum(vectors**2, axis=1))),
        "stress_mae_gpa": EV_PER_A3_IN_GPA * np.mean(np.abs(stress)),
        "stress_rmse_mev_per_a3": 1e3 * np.sqrt(np.mean(stress**2)),
    }
    for key, value in expected.items():
        assert evaluation.errors[key] == pytest.approx(value, rel=1e-9), key
    labels = np.concatenate([r.forces for r in records if r.forces is not None])
    assert evaluation.errors["force_rms_mev_per_angstrom"] == pytest.approx(1e3 * np.sqrt(np.mean(labels**2)))
    assert evaluation.counts == {"energy": len(per_atom), "forces": 7, "stress": len(stress)}
    assert potential.training  # as it was


def test_per_element_errors_average_to_the_whole(potential, records):
    evaluation = evaluate(potential, records)
    assert list(evaluation.per_element) == ["H", "O", "Cu"]
    atoms = {"H": 2, "O": 1}
    atoms["Cu"] = sum(len(r.numbers) for r in records if r.forces is not None) - 3
    mean = sum(n * evaluation.per_element[e]["force_mae_mev_per_angstrom"] for e, n in atoms.items())
    assert mean / sum(atoms.values()) == pytest.approx(evaluation.errors["force_mae_mev_per_angstrom"])


def test_groups_by_an_info_key(potential, tmp_path, mixed_file):
    records = read_records(mixed_file)
    for i, record in enumerate(records):
        if i:
            record.info["kind"] = "hot" if i < 4 else 7
    evaluation = evaluate(potential, records, by="kind")
    assert list(evaluation.groups) == ["(none)", "7", "hot"]
    assert sum(group.frames for group in evaluation.groups.values()) == len(records)
    assert evaluation.groups["hot"].errors == evaluate(potential, records[1:4]).errors
    with pytest.raises(InputError, match="no frame has the info key 'temperature'"):
        evaluate(potential, records, by="temperature")


def test_json_has_the_agreed_keys(potential, records):
    values = json.loads(json.dumps(evaluate(potential, records).to_json()))
    for quantity, unit in (
        ("energy", "mev_per_atom"),
        ("energy", "mev"),
        ("force", "mev_per_angstrom"),
        ("force_vector", "mev_per_angstrom"),
        ("stress", "gpa"),
    ):
        for measure in ("mae", "rmse"):
            key = f"{quantity}_{measure}_{unit}"
            low, high = values[f"{key}_ci95"]
            assert 0 <= low <= values[key] <= high
    assert values["force_rms_mev_per_angstrom"] > 0


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    """Errors correlated within frames: resampling single errors would give far too narrow an interval."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        frame_scale = rng.exponential(size=60)
        absolute = frame_scale[:, None] * np.abs(rng.normal(size=(60, 12)))
        table = ErrorTable("{}", np.full(60, 12.0), absolute.sum(1), (absolute**2).sum(1))
        low, high = table.intervals(seed=trial)["mae"]
        covered += low < np.sqrt(2 / np.pi) < high
    assert 0.87 <= covered / 200 <= 0.99


def test_a_single_frame_has_no_interval(potential, records):
    evaluation = evaluate(potential, records[:1])
    assert evaluation.errors["energy_mae_mev_per_atom"] > 0
    assert evaluation.intervals == {}


def test_frames_without_labels_or_with_unknown_elements(potential, records, tmp_path):
    with pytest.raises(InputError, match="no frame has"):
        compare(predict_records(potential, records[:0]))
    neon = Atoms("Ne2", positions=[[0, 0, 0], [0, 0, 2.0]])
    neon.info["e"] = 1.0
    path = tmp_path / "neon.extxyz"
    write(path, [molecule("H2O"), neon])
    with pytest.raises(InputError, match=r"neon\.extxyz frame 1: .*Ne"), pytest.warns(match="no label"):
        evaluate(potential, read_records(path, LabelKeys(energy="e")))


def test_figures_and_report(potential, records, tmp_path):
    frames = predict_records(potential, records)
    evaluation = compare(frames)
    rows = [
        {"epoch": e, "step": e, "train/loss": 1.0, "val/loss": 2.0 / (e + 1), "val/energy_mae_mev_per_atom": 1.0}
        for e in range(5)
    ]
    figures = [
        learning_curve(rows, tmp_path / "figures" / "learning_curve.png"),
        parity(frames, evaluation, tmp_path / "parity.png"),
        nve_energy(np.arange(4.0), np.array([1.0, 1.001, 0.999, 1.0]), 8, 0.01, tmp_path / "nve.png"),
    ]
    for figure in figures:
        content = figure.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000
    nve = {"drift_mev_per_atom_per_ps": 0.01}
    write_report(tmp_path / "report.json", evaluation, {"seconds": 12.5}, nve, {"equinet": "0"})
    report = json.loads((tmp_path / "report.json").read_text())
    for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_angstrom", "force_rms_mev_per_angstrom"):
        assert report["test"][key] == evaluation.errors[key]
    assert report["nve"]["drift_mev_per_atom_per_ps"] == 0.01
    assert report["train"]["seconds"] == 12.5
    assert report["versions"] == {"equinet": "0"}


def test_energies_only_parity(potential, records, tmp_path):
    energies = [record for record in records if record.forces is None and record.energy is not None]
    frames = predict_records(potential, energies)
    assert parity(frames, compare(frames), tmp_path / "parity.png").exists()
