import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from crrn.errors import ConfigError
from crrn.training import Stage
from crrn.training.schedules import cosine, multistep, one_cycle


def rates(schedule, steps_per_epoch: int, epochs: int, lr: float = 1e-4, **options: object) -> list[float]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler = schedule(optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)
    seen = []
    for _ in range(steps_per_epoch * epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_the_papers_joint_stage_falls_to_a_tenth_after_50_of_80_epochs():
    seen = rates(multistep, 3, 80, milestones=[0.625])
    assert seen == pytest.approx([1e-4] * 150 + [1e-5] * 90)


def test_one_cycle_rises_then_falls_by_a_cosine():
    seen = rates(one_cycle, 10, 10, lr=1.0, warm_up=0.1, final_fraction=0.01)
    assert seen[0] == pytest.approx(0.1)
    assert max(seen) == pytest.approx(1.0, abs=1e-3)
    assert seen.index(max(seen)) in (9, 10)
    falling = seen[10:]
    assert all(a > b for a, b in pairwise(falling))
    start, end = 9, 100  # torch's own peak lies one step early
    middle = 0.01 + (1 - 0.01) * (1 + math.cos(math.pi * (55 - start) / (end - start))) / 2
    assert seen[55] == pytest.approx(middle, rel=0.02)
    assert seen[-1] < 0.02


def test_milestones_are_shares_of_a_stage_of_any_length():
    for steps_per_epoch, epochs in ((3, 80), (7, 1), (10, 2)):
        steps = steps_per_epoch * epochs
        seen = rates(multistep, steps_per_epoch, epochs, milestones=[0.5, 0.9], factor=0.5)
        falls = [n for n, (a, b) in enumerate(pairwise(seen), 1) if b < a]
        assert falls == [round(0.5 * steps), round(0.9 * steps)]


def cosine_by_hand(steps: int, rising: int) -> list[float]:
    rise = [0.1 + 0.9 * step / rising for step in range(rising)]
    return rise + [(1 + math.cos(math.pi * step / (steps - rising))) / 2 for step in range(steps - rising)]


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs", "warm_up", "rising"), [(10, 10, 0.1, 10), (7, 3, 0, 0), (1, 1, 0.5, 0)]
)
def test_cosine_rises_linearly_then_falls_to_zero(steps_per_epoch, epochs, warm_up, rising):
    seen = rates(cosine, steps_per_epoch, epochs, lr=1.0, warm_up=warm_up)
    assert seen == pytest.approx(cosine_by_hand(steps_per_epoch * epochs, rising), abs=1e-12)


def test_cosine_keeps_the_proportion_of_parts():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [parameter], "lr": lr} for parameter, lr in zip(parameters, (1.0, 0.1), strict=True)]
    optimizer = torch.optim.Adam(groups)
    scheduler = cosine(optimizer, steps_per_epoch=10, epochs=2)
    for _ in range(20):
        assert optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("stop", [0, 1, 4, 5, 6, 19])
def test_cosine_goes_on_exactly_after_a_resume(stop):
    def make(state: dict | None = None):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 1e-3)
        scheduler = cosine(optimizer, steps_per_epoch=10, epochs=2, warm_up=0.25)
        if state:
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
        return optimizer, scheduler

    whole = rates(cosine, 10, 2, lr=1e-3, warm_up=0.25)
    optimizer, scheduler = make()
    seen = []
    for step in range(20):
        if step == stop:
            optimizer, scheduler = make({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == whole


@pytest.mark.parametrize("warm_up", [1, -0.1, 5, "much"])
def test_a_warm_up_that_is_no_share_is_refused(warm_up):
    with pytest.raises(ConfigError, match="warm_up"):
        rates(cosine, 1, 80, warm_up=warm_up)


@pytest.mark.parametrize("milestones", [[80], [0], [0.5, 1]])
def test_a_milestone_outside_the_stage_is_refused(milestones: list[float]):
    with pytest.raises(ConfigError, match=r"milestones .* 0\.625"):
        rates(multistep, 1, 80, milestones=milestones)


def test_a_stage_checks_its_schedule_when_it_is_made():
    with pytest.raises(ConfigError, match="milestones"):
        Stage(epochs=3, learning_rate=1e-4, schedule=partial(multistep, milestones=[50]), loss=None)
    with pytest.raises(ConfigError, match="learning"):
        Stage(epochs=3, learning_rate=0.0, schedule=multistep, loss=None)
