"""The samples of a run, mixtures and real pairs, as a LightningDataModule: its loaders, and the batches they give."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.data import Sampler

from crrn.data.batch import Batch, collate, form
from crrn.data.dataset import SampleDataset, kept_on
from crrn.data.device import DevicePhotos
from crrn.data.loader import BatchLoader, quiet_worker
from crrn.data.pairs import find_pairs
from crrn.data.sampler import FixedBatches, Key, MultiSizeBatchSampler, pair_rows
from crrn.data.settings import Batches, Loading, Sources, Validation
from crrn.data.sources import PhotoSource, fingerprint, folder
from crrn.data.split import counts, split_sources, training_set, validation_set
from crrn.data.usable import usable
from crrn.errors import ConfigError, kind_of
from crrn.mixing.model import Mixing, checked_model

log = logging.getLogger("crrn")

# More samples than any measurement takes.
ENDLESS = 10**9


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
        self.background = _photo_source("data.background", background)
        self.reflection = _photo_source("data.reflection", reflection)
        self.mixing = checked_model("mixing", mixing)
        self.seed = seed
        self.sources = sources or Sources()
        self.batches = batches or Batches()
        self.validation = validation or Validation()
        if self.validation.mixing is not None:
            checked_model("data.validation.mixing", self.validation.mixing)
        self.loading = loading or Loading()
        self.pairs = find_pairs(self.sources.pairs, self.sources.scene_pattern) if self.sources.pairs else None
        self.first_epoch = 0
        self.epochs: int | None = None
        self._in_turn = False
        self.skipped: set[str] = set()
        self.latest = torch.empty(0, dtype=torch.int64)
        self._train: SampleDataset | None = None
        self._validation: SampleDataset | None = None
        self._kept: DevicePhotos | None = None
        self._stored: list[SampleDataset] = []
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
        background, reflection, pairs = usable(self.background, self.reflection, self.pairs, self.sources)
        training, held_out = split_sources(background, reflection, pairs, self.sources, self.validation)
        cache = self.loading.cache is True
        self._train = training_set(training, self.mixing, self.seed, self.sources, self.batches, cache)
        mixing, size = self.validation.mixing or self.mixing, self.validation.parsed_size()
        self._validation = validation_set(held_out, mixing, size, cache, self.sources.on_corrupt)
        files = [*background.files, *reflection.files]
        files += [file for pair in (pairs.pairs if pairs is not None else ()) for file in pair.files()]
        self._summary = {
            **counts(self.background, self.reflection, training, held_out),
            "fingerprint": fingerprint(files),
        }
        for role, facts in self._summary.items():
            if role != "fingerprint":
                log.info("%s: %s", role, ", ".join(f"{name} {value}" for name, value in facts.items()))

    def summary(self) -> dict[str, Any]:
        """The sources' names, their counts of photos and pairs, and a fingerprint of all files' names and sizes."""
        self.setup()
        return self._summary

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Within this, an epoch ends only where its user stops, and the sizes of the batches take turns."""
        before = self.batches, self.epochs, self._in_turn
        self.batches, self.epochs, self._in_turn = replace(self.batches, samples_per_epoch=ENDLESS), None, True
        try:
            yield
        finally:
            self.batches, self.epochs, self._in_turn = before

    def train_dataloader(self) -> BatchLoader:
        """This rank's share of the training batches, from the batch at which the trainer stands."""
        training, _ = self._datasets()
        share = self._pair_share if self.pairs is not None else None
        sampler = MultiSizeBatchSampler(
            training.plan, self.batches, *self._ranks(), self._position, share, self._in_turn
        )
        return self._loader(training, sampler)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """This rank's share of the held-out mixtures, and of the held-out pairs where there are pairs; no sample is
        left out or repeated."""
        _, held_out = self._datasets()
        size = self.validation.parsed_size()
        mixtures = [Key(0, k, *size) for k in range(self.validation.mixtures)]
        loaders = [self._fixed(held_out, mixtures, "data.validation.mixtures")]
        if held_out.pairs is not None:
            pairs = [Key(0, k, *size, pair=True) for k in range(len(held_out.pairs))]
            loaders.append(self._fixed(held_out, pairs, "the number of held-out pairs"))
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
        mixing = self.validation.mixing or self.mixing if validating else self.mixing
        return form(batch, mixing, self._kept)

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

    def _datasets(self) -> tuple[SampleDataset, SampleDataset]:
        """The training's and the validation's samples, their photos on the trainer's device where it keeps them."""
        self.setup()
        assert self._train is not None and self._validation is not None
        if self.loading.cache != "device":
            return self._train, self._validation
        device = self._device()
        if self._kept is None or self._kept.device != device:
            self._kept, self._stored = kept_on(device, [self._train, self._validation])
            log.info("%s keeps %s photos, %.2f GB", device, f"{len(self._kept.sizes):,}", self._kept.bytes / 1e9)
        training, held_out = self._stored
        return training, held_out

    def _fixed(self, dataset: SampleDataset, keys: Sequence[Key], setting: str) -> BatchLoader:
        batches = FixedBatches(list(keys), self.batches.batch_size, *self._ranks(), setting)
        return self._loader(dataset, batches)

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
            multiprocessing_context="fork" if workers and self.loading.cache is True else None,
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
        if self.loading.cache is True and "fork" not in multiprocessing.get_all_start_methods():
            return 0  # on Windows: no worker would share the cache
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # A device that keeps the photos leaves a loader nothing to do but to read the plan.
        most = 2 if self.loading.cache == "device" else 8
        return min(most, max(1, cores // self.trainer.num_devices))


def _photo_source(setting: str, source: Any) -> PhotoSource:
    """A source of photos as it is, or the photos of a folder."""
    if isinstance(source, PhotoSource):
        return source
    if not isinstance(source, str | Path):
        raise ConfigError(
            f"{setting} is {kind_of(source)}: give a folder, or in {setting}._target_ what gives a "
            "crrn.data.PhotoSource."
        )
    return folder(source)
