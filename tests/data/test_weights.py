import numpy as np
import pytest

from equinet.data import FrameWeights, Record
from equinet.errors import InputError


def frame(**info):
    return Record(
        np.array([1]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool), info=info, source="a.xyz frame 4"
    )


def test_a_key_and_a_group_are_multiplied():
    weights = FrameWeights(key="w", group_key="phase", by_group={"liquid": 3.0})
    assert weights.of(frame()) == 1.0
    assert weights.of(frame(w=0.5)) == 0.5
    assert weights.of(frame(w=0.5, phase="liquid")) == 1.5
    assert weights.of(frame(phase="solid")) == 1.0
    assert FrameWeights().of(frame(w=0.5, weight=2.0)) == 1.0  # nothing is read that was not named


@pytest.mark.parametrize("value", [-1.0, "much", float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused_with_the_frame(value):
    with pytest.raises(InputError, match=r"a\.xyz frame 4: its w is .*a weight must be zero or a positive number"):
        FrameWeights(key="w").of(frame(w=value))


def test_senseless_groups_are_refused():
    with pytest.raises(InputError, match=r"data\.weights\.by_group\.liquid"):
        FrameWeights(group_key="phase", by_group={"liquid": -1.0})
    with pytest.raises(InputError, match=r"needs data\.weights\.group_key"):
        FrameWeights(by_group={"liquid": 1.0})
