import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equinet.errors import InputError
from equinet.training.ema import ExponentialAverage
from equinet.training.optimization import (
    OptimizerSettings,
    ScheduleSettings,
    build_optimizer,
    build_schedule,
    learning_rate_factor,
)
from equinet.training.sampling import EpochOrder, ResumableBatches, ResumableLoader


def test_cosine_rises_over_the_warm_up_and_falls_to_zero():
    factor = learning_rate_factor(ScheduleSettings(warmup_steps=4), 104)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(4) == 1.0
    assert factor(54) == pytest.approx(0.5)
    assert factor(104) == pytest.approx(0.0, abs=1e-15)
    assert factor(200) == pytest.approx(0.0, abs=1e-15)
    assert all(factor(step) >= factor(step + 1) for step in range(4, 104))


def test_a_cosine_needs_an_end():
    with pytest.raises(InputError, match="max_epochs"):
        learning_rate_factor(ScheduleSettings(), math.inf)
    assert learning_rate_factor(ScheduleSettings(name="constant"), math.inf)(10) == 1.0


def test_total_steps_overrides_the_length_of_the_run():
    optimizer = build_optimizer([nn.Parameter(torch.ones(1))], OptimizerSettings(lr=1.0))
    schedule = build_schedule(optimizer, ScheduleSettings(total_steps=2), total_steps=1000)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "kind", "amsgrad"),
    [("adam", torch.optim.Adam, False), ("adamw", torch.optim.AdamW, False), ("amsgrad", torch.optim.Adam, True)],
)
def test_optimizers(name, kind, amsgrad):
    optimizer = build_optimizer([nn.Parameter(torch.ones(2))], OptimizerSettings(name=name, lr=0.1, weight_decay=0.01))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["amsgrad"]) == (0.1, 0.01, amsgrad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OptimizerSettings(lr=0.0),
        lambda: OptimizerSettings(lr=math.nan),
        lambda: OptimizerSettings(weight_decay=-1.0),
        lambda: ScheduleSettings(warmup_steps=-1),
        lambda: ScheduleSettings(name="plateau", warmup_steps=5),
        lambda: ScheduleSettings(factor=1.5),
        lambda: ExponentialAverage(nn.Linear(1, 1), 1.0),
    ],
)
def test_senseless_settings_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_average_follows_the_recursion_and_travels_in_the_state():
    torch.manual_seed(0)
    model = nn.Linear(3, 2, dtype=torch.float64)
    average = ExponentialAverage(model, 0.9)
    expected = model.weight.detach().clone()
    for n in range(200):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3, dtype=torch.float64))
        average.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.model.weight, expected, rtol=1e-12, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in average.parameters())

    twin = ExponentialAverage(nn.Linear(3, 2, dtype=torch.float64), 0.9)
    twin.load_state_dict(copy.deepcopy(average.state_dict()))
    for follower in (average, twin):
        follower.update(model)
    assert torch.equal(twin.model.weight, average.model.weight)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 50), batch_size=st.integers(1, 7), seed=st.integers(0, 99), data=st.data())
def test_order_depends_on_seed_and_epoch_alone_and_resumes(size, batch_size, seed, data):
    def batches(epoch, done=None):
        order = EpochOrder(size, seed)
        loader = ResumableLoader(range(size), ResumableBatches(order, batch_size), collate_fn=list)
        if done is not None:
            loader.load_state_dict({"epoch": epoch, "position": done})
        order.set_epoch(epoch)
        return list(loader), loader

    whole, loader = batches(3)
    assert sorted(i for batch in whole for i in batch) == list(range(size))
    assert batches(3)[0] == whole
    assert loader.state_dict() == {"epoch": 3, "position": len(whole)}
    done = data.draw(st.integers(0, len(whole)))
    rest, resumed = batches(3, done)
    assert rest == whole[done:]
    assert len(resumed) == len(whole)
    assert resumed.state_dict()["position"] == len(whole)
    resumed.batches.order.set_epoch(4)  # only the epoch that was broken off is shortened
    assert list(resumed) == batches(4)[0]


def test_epochs_and_seeds_differ():
    def permutation(seed, epoch):
        order = EpochOrder(20, seed)
        order.set_epoch(epoch)
        return list(order)

    assert len({tuple(permutation(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
