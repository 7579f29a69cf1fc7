import copy
import math

import pytest
import torch
from torch import nn

from equinet.errors import InputError
from equinet.training.ema import ExponentialAverage
from equinet.training.losses import SecondStage
from equinet.training.optimization import (
    OptimizerSettings,
    ScheduleSettings,
    build_optimizer,
    build_schedule,
    learning_rate_factor,
)
from equinet.training.pace import Pace


def test_cosine_rises_over_the_warm_up_and_falls_to_zero():
    factor = learning_rate_factor(ScheduleSettings(warmup_steps=4), Pace([(0, 0.0)], 104))
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(4) == 1.0
    assert factor(54) == pytest.approx(0.5)
    assert factor(104) == pytest.approx(0.0, abs=1e-15)
    assert factor(200) == pytest.approx(0.0, abs=1e-15)
    assert all(factor(step) >= factor(step + 1) for step in range(4, 104))


def test_a_cosine_needs_an_end():
    with pytest.raises(InputError, match="max_epochs"):
        learning_rate_factor(ScheduleSettings(), None)
    assert learning_rate_factor(ScheduleSettings(name="constant"), None)(10) == 1.0


def test_the_second_stage_multiplies_the_learning_rate():
    pace = Pace([(0, 0.0)], 100)
    constant = learning_rate_factor(ScheduleSettings(name="constant"), pace, SecondStage(start=0.7, lr_factor=0.1))
    assert [constant(step) for step in (0, 69, 70, 99)] == [1.0, 1.0, 0.1, 0.1]
    with pytest.raises(InputError, match="plateau"):
        build_schedule(
            build_optimizer([nn.Parameter(torch.ones(1))], OptimizerSettings()),
            ScheduleSettings(name="plateau"),
            pace,
            SecondStage(lr_factor=0.1),
        )


def test_the_schedule_has_no_jump_where_the_number_of_processes_changes():
    """A run of 100 steps goes on with two processes after 40: 30 more steps, and no jump of the learning rate."""
    before, after = Pace([(0, 0.0)], 100), Pace([(0, 0.0), (40, 0.4)], 50)
    assert after.end == 70
    assert [after.progress(step) for step in (0, 20, 40)] == [before.progress(step) for step in (0, 20, 40)]
    assert after.progress(55) == pytest.approx(0.7)
    assert after.progress(71) == 1.0
    cosine = learning_rate_factor(ScheduleSettings(), after)
    assert cosine(40) == pytest.approx(learning_rate_factor(ScheduleSettings(), before)(40))
    assert cosine(70) == pytest.approx(0.0, abs=1e-15)


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
        lambda: ScheduleSettings(name="plateau", factor=1.5),
        lambda: ScheduleSettings(name="plateau", patience=-1),
        lambda: ScheduleSettings(name="cosine", patience=5),
        lambda: ScheduleSettings(name="constant", factor=0.1),
        lambda: OptimizerSettings(betas=(0.9, 2.0)),
        lambda: OptimizerSettings(betas=(float("nan"), 0.9)),
        lambda: OptimizerSettings(weight_decay=float("nan")),
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
