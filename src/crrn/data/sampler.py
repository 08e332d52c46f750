"""Batches of keys: which mixtures each step and each rank works on, and at which size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch.utils.data import Sampler

from crrn.data.plan import MixingPlan
from crrn.errors import ConfigError


class Key(NamedTuple):
    """Mixture k of an epoch, at the size of its batch."""

    epoch: int
    k: int
    height: int
    width: int


class MultiSizeBatchSampler(Sampler[list[Key]]):
    """One rank's share of the global batches, each batch at one size.

    Global batch j, counted over the whole stage, is batch j % N of epoch j // N, where N = ceil(mixtures_per_epoch /
    batch_size). It holds the mixtures k = (j % N) * batch_size and on; the last batch of an epoch is completed with
    further mixtures of that epoch, so that each step has ``batch_size`` mixtures. Rank r takes the r-th contiguous
    slice. All ranks have the same number of batches, and the same size at each step.

    Args:
        plan: chooses the size of each batch.
        mixtures_per_epoch: the length of an epoch in mixtures (the paper's 14,754).
        batch_size: mixtures in a global batch, that is over all ranks.
        rank: this rank.
        world_size: number of ranks.
        start: tells, whenever an iteration begins, which global batch to begin with.
        repeat: yields the first ``repeat`` global batches again and again; None: no batch twice.

    Raises:
        ConfigError: no mixture, or a batch that cannot be shared equally between the ranks.
    """

    def __init__(
        self,
        plan: MixingPlan,
        mixtures_per_epoch: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        start: Callable[[], int] = lambda: 0,
        repeat: int | None = None,
    ) -> None:
        if mixtures_per_epoch < 1:
            raise ConfigError(
                f"data.mixtures_per_epoch={mixtures_per_epoch} leaves nothing to train on: give 1 or more."
            )
        self.plan = plan
        self.batch_size = batch_size
        self.per_rank = share(batch_size, world_size)
        self.batches = -(-mixtures_per_epoch // batch_size)
        self.rank = rank
        self.start = start
        if repeat is not None and repeat < 1:
            raise ConfigError(f"data.repeat_batches={repeat} leaves nothing to train on: give 1 or more, or null.")
        self.repeat = repeat

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield ``len(self)`` batches from the one that ``start`` names, across the end of an epoch too."""
        first = self.start()
        for number in range(first, first + self.batches):
            epoch, batch = divmod(number % self.repeat if self.repeat else number, self.batches)
            height, width = self.plan.size(epoch, batch)
            k = batch * self.batch_size + self.rank * self.per_rank
            yield [Key(epoch, k + i, height, width) for i in range(self.per_rank)]


def share(batch_size: int, world_size: int) -> int:
    """The mixtures of a global batch that one rank works on.

    Raises:
        ConfigError: the batch is empty or cannot be shared equally.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ConfigError(
            f"data.batch_size={batch_size} counts the mixtures over all devices and cannot be shared equally by "
            f"{world_size}: give a positive multiple of {world_size}."
        )
    return batch_size // world_size
