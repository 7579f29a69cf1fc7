"""Memory as it is measured: peaks that are there are seen, limits are found, and the line lies above the points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinet.errors import InputError
from equinet.memory import SLACK, growth, held, left_by_groups, measured, peak, say_bytes, there

CPU = torch.device("cpu")
MB = 10**6


def filled(size):
    """So many bytes that are really there."""
    return np.ones(size, dtype=np.uint8)


def test_a_peak_is_seen_and_the_next_one_does_not_see_it():
    before = held(CPU)
    assert peak(CPU, lambda: filled(200 * MB)) - before == pytest.approx(200 * MB, abs=20 * MB)
    assert peak(CPU, lambda: filled(60 * MB)) - before == pytest.approx(60 * MB, abs=20 * MB)
    kept = filled(100 * MB)
    assert peak(CPU, lambda: None) - before == pytest.approx(100 * MB, abs=20 * MB)
    assert held(CPU) - before == pytest.approx(100 * MB, abs=20 * MB)
    assert len(kept)


def test_what_is_there_is_shared_by_processes():
    own, alone, shared = held(CPU), there(CPU), there(CPU, 4)
    assert own < shared < alone
    assert shared - own == pytest.approx((alone - own) / 4, rel=0.2)  # other programs come and go


def group(folder, limit, usage, cached, names=("memory.max", "memory.current", "inactive_file")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\nactive_file 7\n")


def test_limits_of_control_groups(tmp_path):
    own, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    own.write_text("0::/job/step\n")
    group(mounted / "job" / "step", "max", 10, 0)
    group(mounted / "job", 1000, 700, 200)  # of a group above; files that are only cached count as free
    group(mounted, 5000, 700, 0)
    assert list(left_by_groups(own, mounted)) == [500, 4300]

    older = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    own.write_text("3:cpuset:/\n4:memory:/elsewhere/job\n0::/\n")
    group(tmp_path / "old" / "memory", 3000, 1000, 1, older)  # a container sees its own group at the top
    assert list(left_by_groups(own, tmp_path / "old")) == [2001]
    group(tmp_path / "old" / "memory" / "elsewhere" / "job", 100, 300, 50, older)
    assert list(left_by_groups(own, tmp_path / "old")) == [0, 2001]
    assert list(left_by_groups(tmp_path / "absent", mounted)) == []


@settings(max_examples=60, deadline=None)
@given(
    fixed=st.integers(0, 10**9),
    each=st.floats(10, 1e5),
    count=st.integers(2, 8),
    noise=st.lists(st.floats(-0.2, 0.2), min_size=8, max_size=8),
)
def test_the_line_lies_above_all_points_it_is_drawn_through(fixed, each, count, noise):
    sizes = [1000 * 2**i for i in range(count)]
    points = [(size, int(fixed + each * size * (1 + part))) for size, part in zip(sizes, noise, strict=False)]
    line = growth(points)
    assert all(line.at(size) >= peak - 1 for size, peak in points[-3:])
    assert line.each >= (points[-1][1] - points[-2][1]) / (sizes[-1] - sizes[-2]) - 1e-6
    limit = line.at(123_456)
    assert abs(line.largest(limit) - 123_456) <= 1
    assert line.largest(0) == 0


def test_memory_that_ran_out_is_never_tried_again():
    line = growth([(10, 1000), (20, 2000)], failed=40)
    assert line.largest(10**9) == 39


def test_measured_growth_and_its_limits():
    sizes = []

    def work(size):
        sizes.append(size)
        return lambda: filled(1000 * size)

    limit = held(CPU) + 400 * MB + SLACK
    line = measured(CPU, work, 10_000, 10**9, limit)
    assert line.each == pytest.approx(1000, rel=0.1)
    assert line.largest(limit) == pytest.approx(400_000, rel=0.1)
    assert 160_000 <= max(sizes) <= 320_000  # two fifths end it, and twice as much is not tried
    assert line.largest(limit - 200 * MB) == pytest.approx(200_000, rel=0.15)
    sizes.clear()
    measured(CPU, work, 10_000, 30_000, limit)
    assert sizes == [10_000, 10_000, 20_000, 30_000]


def test_memory_that_runs_out_at_once():
    def work(size):
        raise torch.OutOfMemoryError

    line = measured(CPU, work, 500, 1000, 10**6)
    assert line.largest(10**6) < 500


def test_bytes_as_text():
    assert [say_bytes(count) for count in (12, 2805.7, 31e6, 17.94e9)] == ["12 bytes", "2.81 kB", "31 MB", "17.9 GB"]


@pytest.mark.parametrize("file", ["_CLEAR_REFS", "_STATUS"])
def test_where_the_system_does_not_say_it_is_one_line(monkeypatch, tmp_path, file):
    monkeypatch.setattr(f"equinet.memory.{file}", tmp_path / "absent" / "file")
    with pytest.raises(InputError, match=r'only Linux says .* give a number instead of "auto"'):
        peak(CPU, lambda: None)
