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
    with pytest.raises(InputError, match=r"needs data\.weights\.by_group"):
        FrameWeights(group_key="phase")


def test_what_no_frame_has_is_refused_before_training():
    sets = [[frame(w=0.5, phase="liquid"), frame()], [frame(phase="solid")]]
    FrameWeights("w", "phase", {"liquid": 2.0, "solid": 0.5}).check(sets)
    FrameWeights().check(sets)
    for settings, message in (
        ({"key": "weight"}, "data.weights.key is 'weight', which the info of no frame has; the first has phase, w"),
        ({"group_key": "fase", "by_group": {"liquid": 2.0}}, "group_key is 'fase', which the info of no frame has"),
        (
            {"group_key": "phase", "by_group": {"liquit": 2.0}},
            "names liquit, .* phase is that; there are liquid, solid",
        ),
    ):
        with pytest.raises(InputError, match=message):
            FrameWeights(**settings).check(sets)
    with pytest.raises(InputError, match=r"a\.xyz frame 4: its w is -1\.0; a weight must be"):
        FrameWeights("w").check([[frame(w=np.float64(-1.0))]])
