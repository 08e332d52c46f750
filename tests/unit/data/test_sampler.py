from itertools import chain
from pathlib import Path

import pytest

from crrn.data.plan import MixingPlan
from crrn.data.sampler import Key, MultiSizeBatchSampler
from crrn.data.settings import Batches
from crrn.errors import ConfigError
from crrn.mixing import PaperMixing

PLAN = MixingPlan(
    3, [Path("a"), Path("b")], [Path("c"), Path("d")], PaperMixing().draw, [(96, 160), (224, 288), (32, 32)]
)


def of(samples: int, batch_size: int) -> Batches:
    return Batches(batch_size=batch_size, samples_per_epoch=samples)


def batches(rank: int = 0, world_size: int = 1, start: int = 0, mixtures: int = 50) -> list[list[Key]]:
    sampler = MultiSizeBatchSampler(PLAN, of(mixtures, 8), rank, world_size, start=lambda: start)
    made = list(sampler)
    assert len(made) == len(sampler) == 7
    return made


def test_an_epoch_holds_consecutive_mixtures_in_full_batches() -> None:
    keys = list(chain.from_iterable(batches()))
    assert [(key.epoch, key.k) for key in keys] == [(0, k) for k in range(56)]


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("start", [0, 5])
def test_ranks_share_each_global_batch_at_one_size(world_size: int, start: int) -> None:
    ranks = [batches(rank, world_size, start) for rank in range(world_size)]
    for step, whole in enumerate(batches(start=start)):
        parts = [rank[step] for rank in ranks]
        assert list(chain.from_iterable(parts)) == whole
        assert {len(part) for part in parts} == {8 // world_size}
        assert len({(key.height, key.width) for part in parts for key in part}) == 1


def test_starting_later_gives_the_tail_across_the_epochs() -> None:
    stream = [batch for epoch in range(4) for batch in batches(start=7 * epoch)]
    assert {key.epoch for batch in stream for key in batch} == {0, 1, 2, 3}
    for start in range(21):
        assert batches(start=start) == stream[start : start + 7]


def test_start_is_asked_at_each_iteration() -> None:
    position = 0
    sampler = MultiSizeBatchSampler(PLAN, of(50, 8), start=lambda: position)
    first = list(sampler)
    position = 7
    assert {key.epoch for batch in list(sampler) for key in batch} == {1}
    position = 0
    assert list(sampler) == first


def test_all_sizes_come_up() -> None:
    stream = [batch for epoch in range(4) for batch in batches(start=7 * epoch)]
    assert {(batch[0].height, batch[0].width) for batch in stream} == set(PLAN.sizes)


@pytest.mark.parametrize(("batch_size", "world_size"), [(8, 3), (2, 4), (0, 1), (-8, 2)])
def test_a_batch_that_cannot_be_shared(batch_size: int, world_size: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"data\.batches\.batch_size={batch_size} .*positive multiple of {world_size}"
    ):
        MultiSizeBatchSampler(PLAN, of(50, batch_size), 0, world_size)


def test_an_empty_epoch() -> None:
    with pytest.raises(ConfigError, match=r"data\.batches\.samples_per_epoch=0"):
        of(0, 8)
