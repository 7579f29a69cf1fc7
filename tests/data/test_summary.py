import numpy as np
import pytest

from equinet.data import check_stress, compute_statistics, read_records, summarize
from equinet.errors import DataWarning
from tests.data.frames import atom, forces_of, record, silicon, water, written


def test_summary_of_a_file(tmp_path):
    frames = [silicon(energy=-40.0 - i, forces=forces_of(silicon()), stress=np.full(6, 0.01)) for i in range(3)]
    records = read_records(written(tmp_path, frames))
    text = "\n".join(summarize([records.report], compute_statistics(records, 3.0), check_stress(records)))
    assert "3 frames; energy from energy (3), forces from forces (3), virial from stress (3)" in text
    assert "rms of labels: energy 0.1021 eV/atom (after E0 and shift), force" in text
    assert "neighbours within 3 A: 4.00 per atom on average, 4 at least" in text
    assert "E0 from ridge regression:\n  Si        -5.1250 eV" in text
    assert "rank 1 for 1 elements, all determined; prior: mean energy per atom of the data" in text
    assert "stress against energy: not decidable" in text


def test_summary_says_what_is_undetermined_and_what_was_left_out(tmp_path):
    frames = [water(energy=-14.0), water()]
    with pytest.warns(DataWarning):
        records = read_records(written(tmp_path, frames))
    text = "\n".join(summarize([records.report], compute_statistics(records, 3.0), None))
    assert "no forces, no virial" in text
    assert "1 frames without any label left out" in text
    assert "rank 1 for 2 elements, undetermined: H O (1 directions)" in text
    assert "regression toward -4.6667, not determined by the data" in text
    assert "stress" not in text.split("virial 0")[1]


def test_summary_of_isolated_atoms():
    s = compute_statistics([record("H2", -31.0), atom("H", -13.6)], 2.0)
    text = "\n".join(summarize([], s, None))
    assert "1 isolated-atom frames give E0 and are not trained on" in text
    assert "H        -13.6000 eV   shift   -1.9000 eV   isolated atom" in text
    assert "rank" not in text
