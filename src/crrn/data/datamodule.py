"""The mixtures of a run as a LightningDataModule."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from crrn.data.augment import Augmentation
from crrn.data.dataset import MixtureDataset, PairLoader, PhotoPairs, collate, quiet_worker
from crrn.data.photos import PhotoBank, check_photo
from crrn.data.plan import MixingPlan, Size
from crrn.data.sampler import Key, MultiSizeBatchSampler, share
from crrn.data.sources import PhotoSource, fingerprint, folder
from crrn.errors import ConfigError, DataError

log = logging.getLogger("crrn")

# The validation mixtures are the same in every run, whatever its seed.
VALIDATION_SEED = 2018
# The losses and metrics compare windows of this size.
SMALLEST_SIDE = 11


class Mixing(Protocol):
    """A formation model, such as those in ``crrn.mixing``."""

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw the parameters of one mixture."""
        ...

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Mapping[str, Tensor]) -> Any:
        """Form a batch of mixtures from layers (N, 3, H, W) in [0, 1] and one tensor (N,) for each parameter."""
        ...


class MixtureDataModule(L.LightningDataModule):
    """Mixtures made on the fly from two sources of photos; gives what ``mixing`` forms, on the device.

    Training mixtures are a pure function of (seed, epoch, k), see ``MixingPlan``. Validation mixtures are the same in
    every run and come from held-out photos alone, unaugmented. Use it with ``Trainer(use_distributed_sampler=False)``:
    it shares the mixtures between the ranks itself.

    Args:
        background: the backgrounds; a path is a folder of photos.
        reflection: the reflections, likewise.
        mixing: the formation model.
        seed: the run's seed.
        batch_size: mixtures in a step, over all devices (our choice; the paper gives none).
        sizes: the sizes of training batches, "HEIGHTxWIDTH" (the paper's two); a coin per batch chooses (our choice).
        mixtures_per_epoch: the paper's 14,754.
        rotate: largest angle of the augmentation, in degrees (our choice).
        flip: whether the augmentation flips left to right.
        held_out: the share of each source's photos that never train; ignored by sources with a fixed held-out set.
        validation_mixtures: number of validation mixtures.
        validation_size: their size.
        num_workers: worker processes; None means none on a CPU, where a thread makes the next batch while the present
            one is trained on, and on a GPU the cores shared by its devices, at most 8.
        cache: keep the decoded photos in memory; the mixtures are the same bits with and without.
        on_corrupt: "error" stops at a photo that cannot be read or is too small; "skip" goes on without it.
        min_side: the shortest side, in pixels, that a photo may have.
        repeat_batches: train on the first so many batches again and again, to see whether a network can learn at all.

    Attributes:
        first_epoch: the epoch of the mixing plan with which the trainer's epoch 0 starts. A second stage sets it to go
            on with fresh mixtures instead of the first stage's.
        skipped: the corrupt photos that batches met and replaced.
        latest: the numbers k of the mixtures in the latest batch on this device.

    Raises:
        ConfigError: a setting out of range.
        DataError: a missing or empty folder here; an unusable photo in ``setup``, or while iterating.
    """

    def __init__(
        self,
        background: PhotoSource | str | Path,
        reflection: PhotoSource | str | Path,
        mixing: Mixing,
        seed: int,
        batch_size: int = 16,
        sizes: Sequence[str] = ("96x160", "224x288"),
        mixtures_per_epoch: int = 14754,
        rotate: float = 10.0,
        flip: bool = True,
        held_out: float = 0.05,
        validation_mixtures: int = 64,
        validation_size: str = "224x288",
        num_workers: int | None = None,
        cache: bool = False,
        on_corrupt: str = "error",
        min_side: int = 32,
        repeat_batches: int | None = None,
    ) -> None:
        super().__init__()
        self.background = background if isinstance(background, PhotoSource) else folder(background)
        self.reflection = reflection if isinstance(reflection, PhotoSource) else folder(reflection)
        self.mixing = mixing
        self.seed = seed
        self.batch_size = batch_size
        if isinstance(sizes, str) or not sizes:
            raise ConfigError(f"data.sizes={sizes!r} is not a list of sizes: give one or more, e.g. [96x160,224x288].")
        self.sizes = [parse_size("data.sizes", size) for size in sizes]
        self.mixtures_per_epoch = mixtures_per_epoch
        self.augmentation = Augmentation(rotate, flip)
        self.held_out = held_out
        if validation_mixtures < 1:
            raise ConfigError(
                f"data.validation_mixtures={validation_mixtures} is not a number of mixtures: give 1 or more."
            )
        self.validation_mixtures = validation_mixtures
        self.validation_size = parse_size("data.validation_size", validation_size)
        if num_workers is not None and num_workers < 0:
            raise ConfigError(
                f"data.num_workers={num_workers} is not a number of processes: give 0 or more, or null for the default."
            )
        self.num_workers = num_workers
        self.cache = cache
        if on_corrupt not in ("error", "skip"):
            raise ConfigError(f"data.on_corrupt={on_corrupt!r} is unknown: give 'error' or 'skip'.")
        self.on_corrupt = on_corrupt
        self.min_side = min_side
        self.repeat_batches = repeat_batches
        self.first_epoch = 0
        self.skipped: set[str] = set()
        self.latest = torch.empty(0, dtype=torch.int64)
        self._train: MixtureDataset | None = None
        self._validation: MixtureDataset | None = None
        self._summary: dict[str, Any] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read all photos' headers, split the sources, and write the counts to the log; a second call does nothing.

        Raises:
            DataError: naming the first photo that cannot be read or is too small, and how many there are; with
                on_corrupt="skip", only where too few photos are left.
        """
        if self._train is not None:
            return
        background, reflection = self._usable()
        background_train, background_held_out = background.split(self.held_out)
        reflection_train, reflection_held_out = reflection.split(self.held_out)
        self._check_disjoint(background_train, reflection_train, background_held_out, reflection_held_out)

        canonical = (max(height for height, _ in self.sizes), max(width for _, width in self.sizes))
        self._train = self._dataset(
            self.seed, background_train, reflection_train, self.sizes, canonical, self.augmentation
        )
        self._validation = self._dataset(
            VALIDATION_SEED,
            background_held_out,
            reflection_held_out,
            [self.validation_size],
            self.validation_size,
            None,
        )
        self._summary = {
            "background": _counts(self.background, background_train, background_held_out),
            "reflection": _counts(self.reflection, reflection_train, reflection_held_out),
            "fingerprint": fingerprint([*background.files, *reflection.files]),
        }
        for role in ("background", "reflection"):
            log.info("%s: %s", role, ", ".join(f"{name} {value}" for name, value in self._summary[role].items()))
        if self.cache:
            photos = len({*background_train, *reflection_train})
            log.info("photo cache: up to %.1f GB", photos * canonical[0] * canonical[1] * 3 / 1e9)

    def summary(self) -> dict[str, Any]:
        """The sources' names, their counts of photos, and a fingerprint of all files' names and sizes."""
        self.setup()
        return self._summary

    def train_dataloader(self) -> PairLoader:
        """This rank's share of the training batches, from the batch at which the trainer stands."""
        self.setup()
        assert self._train is not None
        rank, world_size = self._ranks()
        sampler = MultiSizeBatchSampler(
            self._train.plan,
            self.mixtures_per_epoch,
            self.batch_size,
            rank,
            world_size,
            start=self._position,
            repeat=self.repeat_batches,
        )
        return self._loader(self._train, sampler)

    def val_dataloader(self) -> PairLoader:
        """This rank's share of the validation mixtures; no mixture is left out or repeated."""
        self.setup()
        assert self._validation is not None
        keys = [Key(0, k, *self.validation_size) for k in range(self.validation_mixtures)]
        return self._loader(self._validation, _FixedBatches(keys, self.batch_size, *self._ranks()))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Form the mixtures on the device; nothing is random here."""
        if not isinstance(batch, PhotoPairs):
            return batch
        for file in batch.skipped:
            if file not in self.skipped:
                self.skipped.add(file)
                log.warning("%s cannot be read and is replaced by another photo (%d so far)", file, len(self.skipped))
        self.latest = batch.k
        return self.mixtures(batch)

    def mixtures(self, batch: PhotoPairs) -> Any:
        """Form the mixtures of a batch of photo pairs, on the device on which they lie."""
        return self.mixing(_unit(batch.background), _unit(batch.reflection), batch.parameters)

    def _usable(self) -> tuple[PhotoSource, PhotoSource]:
        """The two sources without the photos whose headers cannot be read or tell of too small a photo."""
        files = list(dict.fromkeys([*self.background.files, *self.reflection.files]))

        def problem(file: Path) -> DataError | None:
            try:
                check_photo(file, self.min_side)
            except DataError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            problems = {file: error for file, error in zip(files, pool.map(problem, files), strict=True) if error}
        if problems and self.on_corrupt == "error":
            first = next(iter(problems.values()))
            raise DataError(
                f"{first} ({len(problems)} of {len(files)} photos cannot be used)" if len(problems) > 1 else str(first)
            )
        for error in problems.values():
            log.warning("left out: %s", error)

        def without(source: PhotoSource) -> PhotoSource:
            return PhotoSource(
                source.name, tuple(file for file in source.files if file not in problems), source.held_out
            )

        return without(self.background), without(self.reflection)

    def _check_disjoint(
        self,
        background: list[Path],
        reflection: list[Path],
        background_held_out: list[Path],
        reflection_held_out: list[Path],
    ) -> None:
        """Two sources that share photos must hold out the same ones; those with fixed sets of their own might not."""
        shared = {*background, *reflection} & {*background_held_out, *reflection_held_out}
        if shared:
            raise DataError(
                f"{min(shared)} trains in one source and is held out in the other: use the same source for "
                "data.background and data.reflection, or sources without common photos."
            )

    def _dataset(
        self,
        seed: int,
        background: list[Path],
        reflection: list[Path],
        sizes: list[Size],
        canonical: Size,
        augmentation: Augmentation | None,
    ) -> MixtureDataset:
        plan = MixingPlan(seed, background, reflection, self.mixing.draw, sizes)
        background_bank = PhotoBank(background, canonical, self.cache)
        reflection_bank = background_bank if reflection == background else PhotoBank(reflection, canonical, self.cache)
        return MixtureDataset(plan, background_bank, reflection_bank, augmentation, self.on_corrupt)

    def _loader(self, dataset: MixtureDataset, batches: Sampler[list[Key]]) -> PairLoader:
        workers = self._workers()
        return PairLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=self._device().type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=quiet_worker,
            # The shared cache reaches only workers that are forked.
            multiprocessing_context="fork" if workers and self.cache else None,
            # The loader draws a number for its workers at each start; not from the global stream.
            generator=torch.Generator(),
        )

    def _position(self) -> int:
        batches = -(-self.mixtures_per_epoch // self.batch_size)
        if self.trainer is None:
            return self.first_epoch * batches
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        # Counted over all epochs, and kept in checkpoints. Lightning declares the class without this attribute.
        return self.first_epoch * batches + progress.total.processed  # type: ignore[attr-defined]

    def _ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        if self.trainer is None or self._device().type == "cpu":
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(8, max(1, cores // self.trainer.num_devices))


class _FixedBatches(Sampler[list[Key]]):
    """One rank's share of the keys, in batches, the same at each iteration.

    All ranks have the same number of batches, as each is a point where they wait for one another; where the keys cannot
    be shared equally, some batches hold one key more than others.
    """

    def __init__(self, keys: list[Key], batch_size: int, rank: int, world_size: int) -> None:
        per_rank = share(batch_size, world_size)
        if len(keys) < world_size:
            raise ConfigError(
                f"data.validation_mixtures={len(keys)} leaves some of {world_size} devices without one: give "
                f"{world_size} or more."
            )
        own = _split(keys, world_size)[rank]
        self.batches = _split(own, -(-(len(keys) // world_size) // per_rank))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


def _split(keys: list[Key], parts: int) -> list[list[Key]]:
    """Consecutive parts whose lengths differ by one at most."""
    bounds = [part * len(keys) // parts for part in range(parts + 1)]
    return [keys[first:last] for first, last in pairwise(bounds)]


def parse_size(name: str, size: str) -> Size:
    """Read a size "HEIGHTxWIDTH" as (height, width).

    Raises:
        ConfigError: anything else, or a side below the 11 pixels of the losses' window; the message names the setting
            ``name``.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", str(size))
    if match is None:
        raise ConfigError(f"{name}: {str(size)!r} is not a size; give HEIGHTxWIDTH, e.g. 224x288.")
    height, width = int(match[1]), int(match[2])
    if min(height, width) < SMALLEST_SIDE:
        raise ConfigError(
            f"{name}: {size} is too small; the losses need sides of {SMALLEST_SIDE} pixels or more, e.g. 224x288."
        )
    return height, width


def _counts(source: PhotoSource, training: list[Path], held_out: list[Path]) -> dict[str, Any]:
    return {
        "source": source.name,
        "training": len(training),
        "held_out": len(held_out),
        "left_out": len(source.files) - len(training) - len(held_out),
    }


def _unit(photos: Tensor) -> Tensor:
    """Turn uint8 photos to floats in [0, 1], contiguous: which memory format to compute in is the network's choice."""
    return photos.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
