"""The samples of a run, mixtures and real pairs, as a LightningDataModule."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from torch.utils.data import Sampler

from crrn.data.augment import Augmentation
from crrn.data.batch import Batch, collate, form
from crrn.data.dataset import PairBank, SampleDataset
from crrn.data.loader import BatchLoader, quiet_worker
from crrn.data.pairs import PairSource, find_pairs
from crrn.data.photos import PhotoBank, check_photo, upright_size
from crrn.data.plan import Geometry, MixingPlan, PairPlan, PairRecipe, Size
from crrn.data.sampler import FixedBatches, Key, MultiSizeBatchSampler, pair_rows
from crrn.data.settings import Batches, Loading, Sources, Validation
from crrn.data.sources import PhotoSource, fingerprint, folder
from crrn.errors import ConfigError, DataError
from crrn.mixing.model import Mixing

log = logging.getLogger("crrn")

# The validation mixtures are the same in every run, whatever its seed.
VALIDATION_SEED = 2018


class MixtureDataModule(L.LightningDataModule):
    """Mixtures made on the fly from two sources of photos, and real pairs beside them; gives `Mixture`s on the device.

    Training samples are a pure function of (seed, epoch, k), see `MixingPlan` and `PairPlan`. Validation samples are
    the same in every run and come from held-out photos and scenes alone, unaugmented. Use it with
    ``Trainer(use_distributed_sampler=False)``: it shares the samples between the ranks itself.

    Args:
        background: the backgrounds; a path is a folder of photos.
        reflection: the reflections, likewise.
        mixing: the formation model.
        seed: the run's seed.
        sources, batches, validation, loading: see `crrn.data.settings`; None is the default of each.

    Attributes:
        first_epoch: the epoch of the plans with which the trainer's epoch 0 starts. A second stage sets it to go on
            with fresh samples instead of the first stage's.
        epochs: the length of the present stage, over which the pairs' share may change; None: unknown, and the share is
            that of the start.
        skipped: the corrupt photos that batches met and replaced.
        latest: the numbers k of the samples in the latest batch on this device.

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
        sources: Sources | None = None,
        batches: Batches | None = None,
        validation: Validation | None = None,
        loading: Loading | None = None,
    ) -> None:
        super().__init__()
        self.background = background if isinstance(background, PhotoSource) else folder(background)
        self.reflection = reflection if isinstance(reflection, PhotoSource) else folder(reflection)
        self.mixing = mixing
        self.seed = seed
        self.sources = sources or Sources()
        self.batches = batches or Batches()
        self.validation = validation or Validation()
        self.loading = loading or Loading()
        self.pairs = find_pairs(self.sources.pairs, self.sources.scene_pattern) if self.sources.pairs else None
        self.augmentation = Augmentation(self.batches.rotate, self.batches.flip)
        self.first_epoch = 0
        self.epochs: int | None = None
        self.skipped: set[str] = set()
        self.latest = torch.empty(0, dtype=torch.int64)
        self._train: SampleDataset | None = None
        self._validation: SampleDataset | None = None
        self._summary: dict[str, Any] = {}
        self._check_pairs()

    def setup(self, stage: str | None = None) -> None:
        """Read all photos' headers, split the sources, and write the counts to the log; a second call does nothing.

        Raises:
            DataError: naming the first photo that cannot be read or is too small, and how many there are; with
                on_corrupt="skip", only where too few photos are left.
        """
        if self._train is not None:
            return
        background, reflection, pairs = self._usable()
        held_out = self.sources.held_out
        background_train, background_held_out = background.split(held_out)
        reflection_train, reflection_held_out = reflection.split(held_out)
        self._check_disjoint(background_train, reflection_train, background_held_out, reflection_held_out)
        pairs_train, pairs_held_out = None, None
        if pairs is not None:
            pairs_train, pairs_held_out = pairs.split(held_out, self.validation.pair_scenes)
            pairs_held_out = pairs_held_out.at_most(self.validation.pairs_per_scene)

        sizes, scale = self.batches.parsed_sizes(), self.batches.scale
        canonical = (max(height for height, _ in sizes), max(width for _, width in sizes))
        if scale is not None:  # the smallest crop then still has the pixels of a batch
            canonical = (round(canonical[0] / scale[0]), round(canonical[1] / scale[0]))
        pair_plan = None
        if pairs_train is not None:
            scenes = [pair.scene for pair in pairs_train.pairs]
            by_scene = self.sources.pair_sampling == "scene"
            pair_plan = PairPlan(self.seed, scenes, by_scene, scale, self.sources.pair_jitter)
        uses_pair = getattr(self.mixing, "uses_pair", None)
        plan = MixingPlan(
            self.seed, background_train, reflection_train, self.mixing.draw, sizes, scale, uses_pair, pair_plan
        )
        self._train = self._dataset(
            plan, background_train, reflection_train, pair_plan, pairs_train, canonical, self.augmentation
        )
        size = self.validation.parsed_size()
        mixing = self.validation.mixing or self.mixing
        fixed = None if pairs_held_out is None else PairPlan(VALIDATION_SEED, [p.scene for p in pairs_held_out.pairs])
        plan = MixingPlan(
            VALIDATION_SEED,
            background_held_out,
            reflection_held_out,
            mixing.draw,
            [size],
            None,
            getattr(mixing, "uses_pair", None),
            fixed,
        )
        self._validation = self._dataset(
            plan, background_held_out, reflection_held_out, whole_pair, pairs_held_out, size, None
        )
        files = [*background.files, *reflection.files]
        self._summary = {
            "background": _counts(self.background, background_train, background_held_out),
            "reflection": _counts(self.reflection, reflection_train, reflection_held_out),
        }
        if pairs is not None and pairs_train is not None and pairs_held_out is not None:
            files += [file for pair in pairs.pairs for file in pair.files()]
            self._summary["pairs"] = {
                "training": len(pairs_train.pairs),
                "training scenes": len(pairs_train.scenes()),
                "held out": len(pairs_held_out.pairs),
                "held-out scenes": len(pairs_held_out.scenes()),
            }
        self._summary["fingerprint"] = fingerprint(files)
        for role, counts in self._summary.items():
            if role != "fingerprint":
                log.info("%s: %s", role, ", ".join(f"{name} {value}" for name, value in counts.items()))

    def summary(self) -> dict[str, Any]:
        """The sources' names, their counts of photos and pairs, and a fingerprint of all files' names and sizes."""
        self.setup()
        return self._summary

    def train_dataloader(self) -> BatchLoader:
        """This rank's share of the training batches, from the batch at which the trainer stands."""
        self.setup()
        assert self._train is not None
        share = self._pair_share if self.pairs is not None else None
        sampler = MultiSizeBatchSampler(
            self._train.plan, self.batches, *self._ranks(), start=self._position, pair_share=share
        )
        return self._loader(self._train, sampler)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """This rank's share of the held-out mixtures, and of the held-out pairs where there are pairs; no sample is
        left out or repeated."""
        self.setup()
        assert self._validation is not None
        size = self.validation.parsed_size()
        mixtures = [Key(0, k, *size) for k in range(self.validation.mixtures)]
        loaders = [self._fixed(mixtures, "data.validation.mixtures")]
        if self._validation.pairs is not None:
            pairs = [Key(0, k, *size, pair=True) for k in range(len(self._validation.pairs))]
            loaders.append(self._fixed(pairs, "the number of held-out pairs"))
        return loaders if len(loaders) > 1 else loaders[0]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Form the mixtures on the device; nothing is random here."""
        if not isinstance(batch, Batch):
            return batch
        for file in batch.skipped:
            if file not in self.skipped:
                self.skipped.add(file)
                log.warning("%s cannot be read and is replaced by another photo (%d so far)", file, len(self.skipped))
        self.latest = batch.k
        validating = self.trainer is not None and not getattr(self.trainer, "training", True)
        return form(batch, self.validation.mixing or self.mixing if validating else self.mixing)

    def _check_pairs(self) -> None:
        """Refuses what cannot work before a photo is read."""
        if self.pairs is None:
            for setting, mixing in (("mixing", self.mixing), ("data.validation.mixing", self.validation.mixing)):
                if getattr(mixing, "needs_pairs", False):
                    raise ConfigError(
                        f"{setting} takes the reflections of real pairs, and there are none: set "
                        "data.sources.pairs=[DIR], or leave that model out, as in mixing.weights.transfer=0."
                    )
            return
        for _, share in self.sources.share_steps():
            if share and not any(pair_rows(share, self.batches.batch_size)):
                raise ConfigError(
                    f"data.sources.pair_share={share:g} of {self.batches.batch_size} samples is less than half a pair: "
                    "raise it or data.batches.batch_size, or set it to 0."
                )

    def _pair_share(self, number: int) -> float:
        """The share of pairs in a global batch, counted over the whole run."""
        per_epoch = self.batches.per_epoch()
        done = number - self.first_epoch * per_epoch
        return self.sources.share(min(1.0, done / (self.epochs * per_epoch)) if self.epochs else 0.0)

    def _usable(self) -> tuple[PhotoSource, PhotoSource, PairSource | None]:
        """The sources without the photos and pairs whose headers cannot be read or tell of unfit sizes."""
        pairs = self.pairs.pairs if self.pairs is not None else ()
        files = list(dict.fromkeys([*self.background.files, *self.reflection.files]))
        files = list(dict.fromkeys([*files, *(file for pair in pairs for file in pair.files())]))

        def problem(file: Path) -> DataError | None:
            try:
                check_photo(file, self.sources.min_side)
            except DataError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            found = zip(files, pool.map(problem, files), strict=True)
            problems = {file: error for file, error in found if error}
        for pair in pairs:
            if not any(file in problems for file in pair.files()):
                sizes = {file: upright_size(file) for file in pair.files()}
                if len(set(sizes.values())) > 1:
                    written = " and ".join(f"{file} {h}x{w}" for file, (h, w) in sizes.items())
                    problems[pair.mixture] = DataError(
                        f"the photos of a real pair differ in size ({written}, height x width): crop them alike."
                    )
        if problems and self.sources.on_corrupt == "error":
            first = next(iter(problems.values()))
            raise DataError(
                f"{first} ({len(problems)} of {len(files)} photos cannot be used)" if len(problems) > 1 else str(first)
            )
        for error in problems.values():
            log.warning("left out: %s", error)

        def without(source: PhotoSource) -> PhotoSource:
            good = tuple(file for file in source.files if file not in problems)
            return PhotoSource(source.name, good, source.held_out)

        sound = tuple(pair for pair in pairs if not any(file in problems for file in pair.files()))
        return without(self.background), without(self.reflection), PairSource(sound) if pairs else None

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
        plan: MixingPlan,
        background: list[Path],
        reflection: list[Path],
        pair_plan: Callable[[int, int], PairRecipe] | None,
        pairs: PairSource | None,
        canonical: Size,
        augmentation: Augmentation | None,
    ) -> SampleDataset:
        cache = self.loading.cache
        squeeze = augmentation is None or self.batches.scale is None
        background_bank = PhotoBank(background, canonical, cache, squeeze)
        same = reflection == background
        reflection_bank = background_bank if same else PhotoBank(reflection, canonical, cache, squeeze)
        match_tone = self.sources.pair_tone == "match" and augmentation is not None
        pair_bank = None if pairs is None else PairBank(pairs, canonical, cache, squeeze, match_tone)
        return SampleDataset(
            plan, background_bank, reflection_bank, pair_plan, pair_bank, augmentation, self.sources.on_corrupt
        )

    def _fixed(self, keys: Sequence[Key], setting: str) -> BatchLoader:
        assert self._validation is not None
        batches = FixedBatches(list(keys), self.batches.batch_size, *self._ranks(), setting)
        return self._loader(self._validation, batches)

    def _loader(self, dataset: SampleDataset, batches: Sampler[list[Key]]) -> BatchLoader:
        workers = self._workers()
        return BatchLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=self._device().type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=quiet_worker,
            # The shared cache reaches only workers that are forked.
            multiprocessing_context="fork" if workers and self.loading.cache else None,
            # The loader draws a number for its workers at each start; not from the global stream.
            generator=torch.Generator(),
        )

    def _position(self) -> int:
        batches = self.batches.per_epoch()
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
        if self.loading.num_workers is not None:
            return self.loading.num_workers
        if self.trainer is None or self._device().type == "cpu":
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(8, max(1, cores // self.trainer.num_devices))


def whole_pair(epoch: int, k: int) -> PairRecipe:
    """Pair number k as it is, for validation."""
    return PairRecipe(k, Geometry(0), np.ones(3, np.float32))


def _counts(source: PhotoSource, training: Iterable[Path], held_out: Iterable[Path]) -> dict[str, Any]:
    used, kept = len(list(training)), len(list(held_out))
    return {
        "source": source.name,
        "training": used,
        "held_out": kept,
        "left_out": len(source.files) - used - kept,
    }
