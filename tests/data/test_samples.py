import pytest

from equinet.data import read_records, samples
from equinet.errors import InputError


def test_unknown_sample_names_the_nearest():
    with pytest.raises(InputError, match=r"no sample named 'glycl'; did you mean 'glycol'\?"):
        samples.path("glycl", "train")


@pytest.mark.parametrize("name", samples.NAMES)
def test_unknown_split_names_the_nearest(name):
    with pytest.raises(InputError, match=rf"the sample '{name}' has no split 'tst'; did you mean 'test'\?"):
        samples.path(name, "tst")


@pytest.mark.parametrize("name", samples.NAMES)
def test_splits_can_be_read_and_share_no_frame(name):
    assert {"train", "val", "test"} <= set(samples.splits(name))
    seen = set()
    for split in samples.splits(name):
        records = read_records(samples.path(name, split))
        assert all(record.energy is not None for record in records)
        frames = {record.positions.round(4).tobytes() for record in records}
        assert not frames & seen
        seen |= frames
