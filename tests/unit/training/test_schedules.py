import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from crrn.errors import ConfigError
from crrn.training import Stage
from crrn.training.schedules import multistep, one_cycle


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
    seen = rates(multistep, 3, 80, milestones=[50])
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


@pytest.mark.parametrize("milestones", [[80], [0], [50, 90]])
def test_a_milestone_outside_the_stage_is_refused(milestones: list[int]):
    with pytest.raises(ConfigError, match="80 epochs"):
        rates(multistep, 1, 80, milestones=milestones)


def test_a_stage_checks_its_schedule_when_it_is_made():
    with pytest.raises(ConfigError, match="milestones"):
        Stage(epochs=3, learning_rate=1e-4, schedule=partial(multistep, milestones=[50]), loss=None)
    with pytest.raises(ConfigError, match="learning rate"):
        Stage(epochs=3, learning_rate=0.0, schedule=multistep, loss=None)
