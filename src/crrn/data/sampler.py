"""Batches of keys: which samples each step and each rank works on, and at which size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch.utils.data import Sampler

from crrn.data.plan import MixingPlan
from crrn.data.settings import Batches
from crrn.errors import ConfigError


class Key(NamedTuple):
    """Sample k of an epoch, at the size of its batch: a mixture of two photos, or a real pair."""

    epoch: int
    k: int
    height: int
    width: int
    pair: bool = False


class MultiSizeBatchSampler(Sampler[list[Key]]):
    """One rank's share of the global batches, each batch at one size.

    Global batch j, counted over the whole stage, is batch j % N of epoch j // N, where N is `Batches.per_epoch`. Its
    samples start at k = (j % N) * batch_size. The last batch of an epoch is completed with further samples of that
    epoch, so that each step has ``batch_size`` samples. Rank r takes the r-th contiguous slice. All ranks have the same
    number of batches, and the same size at each step.

    Args:
        plan: chooses the size of each batch.
        batches: length of an epoch, samples in a global batch.
        rank: this rank.
        world_size: number of ranks.
        start: called at the start of each iteration; gives the first global batch.
        pair_share: the share of real pairs in a global batch, by its number; None: no pairs.
        in_turn: the sizes take turns, instead of being drawn for each batch.

    Raises:
        ConfigError: a batch that cannot be shared equally between the ranks.
    """

    def __init__(
        self,
        plan: MixingPlan,
        batches: Batches,
        rank: int = 0,
        world_size: int = 1,
        start: Callable[[], int] = lambda: 0,
        pair_share: Callable[[int], float] | None = None,
        in_turn: bool = False,
    ) -> None:
        self.plan = plan
        self.batch_size = batches.batch_size
        self.per_rank = per_rank(batches.batch_size, world_size)
        self.batches = batches.per_epoch()
        self.rank = rank
        self.start = start
        self.repeat = batches.repeat
        self.pair_share = pair_share
        self.in_turn = in_turn

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield ``len(self)`` batches from the one that ``start`` names, across the end of an epoch too."""
        first = self.start()
        for number in range(first, first + self.batches):
            epoch, batch = divmod(number % self.repeat if self.repeat else number, self.batches)
            sizes = self.plan.sizes
            height, width = sizes[number % len(sizes)] if self.in_turn else self.plan.size(epoch, batch)
            pairs = pair_rows(self.pair_share(number) if self.pair_share else 0, self.batch_size)
            rows = range(self.rank * self.per_rank, (self.rank + 1) * self.per_rank)
            yield [Key(epoch, batch * self.batch_size + row, height, width, pairs[row]) for row in rows]


class FixedBatches(Sampler[list[Key]]):
    """One rank's share of the keys, in batches, the same at each iteration.

    All ranks have the same number of batches, because they wait for one another at each batch. If the keys cannot be
    divided equally, some batches have one key more than others.

    Args:
        keys: of all ranks.
        batch_size: of a global batch.
        rank, world_size: this rank, and how many there are.
        setting: what a message calls the number of keys.

    Raises:
        ConfigError: there are fewer keys than ranks.
    """

    def __init__(self, keys: list[Key], batch_size: int, rank: int, world_size: int, setting: str) -> None:
        if len(keys) < world_size:
            raise ConfigError(
                f"{setting}={len(keys)} leaves some of {world_size} devices without one: give {world_size} or more."
            )
        own = _split(keys, world_size)[rank]
        self.batches = _split(own, -(-(len(keys) // world_size) // per_rank(batch_size, world_size)))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


def pair_rows(share: float, batch_size: int) -> list[bool]:
    """Which rows of a global batch are real pairs: ``share`` of them, rounded, spread evenly."""
    pairs = round(share * batch_size)
    return [(row + 1) * pairs // batch_size > row * pairs // batch_size for row in range(batch_size)]


def per_rank(batch_size: int, world_size: int) -> int:
    """The samples of a global batch that one rank works on.

    Raises:
        ConfigError: the batch is empty or cannot be shared equally.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ConfigError(
            f"data.batches.batch_size={batch_size} counts the samples over all devices and cannot be shared equally by "
            f"{world_size}: give a positive multiple of {world_size}."
        )
    return batch_size // world_size


def _split(keys: Sequence[Key], parts: int) -> list[list[Key]]:
    """Consecutive parts whose lengths differ by one at most."""
    bounds = [part * len(keys) // parts for part in range(parts + 1)]
    return [list(keys[first:last]) for first, last in pairwise(bounds)]
