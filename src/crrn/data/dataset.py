"""From keys to batches of photo pairs, in the workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crrn.data.augment import Augmentation
from crrn.data.photos import Photo, PhotoBank, resize
from crrn.data.plan import MixingPlan
from crrn.data.sampler import Key
from crrn.errors import ConfigError, DataError

Item = TypeVar("Item")


class Pair(NamedTuple):
    """The two photos of one mixture, uint8 (H, W, 3), and what is to be done with them."""

    background: Photo
    reflection: Photo
    parameters: dict[str, float]
    k: int
    skipped: list[str]


class PhotoPairs(NamedTuple):
    """A batch on its way to the device.

    Attributes:
        background: uint8 (N, 3, H, W), in channels-last memory.
        reflection: likewise.
        parameters: the formation model's parameters, float32 (N,) each.
        k: the mixtures' numbers within their epoch, int64 (N,).
        skipped: the corrupt photos that were replaced.
    """

    background: Tensor
    reflection: Tensor
    parameters: dict[str, Tensor]
    k: Tensor
    skipped: list[str]


class MixtureDataset(Dataset[Pair | DataError]):
    """Decodes, resizes and augments the two photos of the mixture that a key names.

    Args:
        plan: tells which two photos a key means.
        background: the photos that the plan calls backgrounds.
        reflection: likewise.
        augmentation: None leaves the photos as they are.
        on_corrupt: "error", or "skip" to replace a photo that cannot be decoded by the next good one in its list.

    Raises:
        ConfigError: another ``on_corrupt``.
    """

    def __init__(
        self,
        plan: MixingPlan,
        background: PhotoBank,
        reflection: PhotoBank,
        augmentation: Augmentation | None = None,
        on_corrupt: str = "error",
    ) -> None:
        if on_corrupt not in ("error", "skip"):
            raise ConfigError(f"data.on_corrupt={on_corrupt!r} is unknown: give 'error' or 'skip'.")
        self.plan = plan
        self.background = background
        self.reflection = reflection
        self.augmentation = augmentation
        self.on_corrupt = on_corrupt

    def __getitem__(self, key: Key) -> Pair | DataError:
        """The pair of photos, or the DataError that a photo caused.

        The error is given back instead of raised: raised in a worker process it would reach the user as the text of a
        traceback.
        """
        recipe = self.plan(key.epoch, key.k)
        skipped: list[str] = []
        try:
            partner = self.reflection.files[recipe.reflection]
            background, file = self._photo(self.background, recipe.background, partner, skipped)
            reflection, _ = self._photo(self.reflection, recipe.reflection, file, skipped)
        except DataError as error:
            return error.with_traceback(None)
        size = (key.height, key.width)
        first, second = recipe.augmentation
        return Pair(
            background=self._augmented(background, size, first),
            reflection=self._augmented(reflection, size, second),
            parameters=recipe.parameters,
            k=key.k,
            skipped=skipped,
        )

    def _augmented(self, photo: Photo, size: tuple[int, int], seed: int) -> Photo:
        photo = resize(photo, size)
        return photo if self.augmentation is None else self.augmentation(photo, seed)

    def _photo(self, bank: PhotoBank, index: int, partner: Path, skipped: list[str]) -> tuple[Photo, Path]:
        """The photo and its file; a corrupt one is replaced by the next good one that is not ``partner``."""
        for step in range(len(bank)):
            number = (index + step) % len(bank)
            file = bank.files[number]
            if step and file == partner:
                continue
            try:
                return bank[number], file
            except DataError:
                if self.on_corrupt == "error":
                    raise
                skipped.append(str(file))
        raise DataError(f"not one of the {len(bank)} photos from {bank.files[index]} on can be read: replace them.")


def collate(samples: Sequence[Pair | DataError]) -> PhotoPairs | DataError:
    """Stack pairs to a batch; where one is an error, give that error."""
    pairs = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        pairs.append(sample)
    names = pairs[0].parameters
    return PhotoPairs(
        background=_stacked([pair.background for pair in pairs]),
        reflection=_stacked([pair.reflection for pair in pairs]),
        parameters={
            name: torch.tensor([pair.parameters[name] for pair in pairs], dtype=torch.float32) for name in names
        },
        k=torch.tensor([pair.k for pair in pairs]),
        skipped=[file for pair in pairs for file in pair.skipped],
    )


class PairLoader(DataLoader[Any]):
    """A DataLoader that raises, in the main process, the DataError that a worker gave back.

    Without worker processes a thread makes the next two batches while the present one is worked on: decoding and
    resizing let other threads run. The batches and their order are the same.
    """

    def __iter__(self) -> Iterator[PhotoPairs]:  # type: ignore[override]
        batches = super().__iter__()
        for batch in batches if self.num_workers else ahead(batches):
            if isinstance(batch, DataError):
                # At once: left to the garbage collector, which may close the queues to the workers before it tells the
                # workers to stop, this can take five seconds for each of them.
                if self._iterator is not None:
                    self._iterator._shutdown_workers()  # type: ignore[attr-defined]
                    self._iterator = None
                raise batch
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the sampler's ``start`` knows where to go on. The method tells Lightning that the loader can."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The other half of the protocol."""


def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order; a thread takes up to ``depth`` from ``items`` before they are asked for."""
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="photos") as pool:
        coming = deque(pool.submit(next, items, nothing) for _ in range(depth))
        while (item := coming.popleft().result()) is not nothing:
            coming.append(pool.submit(next, items, nothing))
            yield cast(Item, item)


def quiet_worker(worker: int) -> None:
    """Keep OpenCV from starting threads in each of the worker processes."""
    cv2.setNumThreads(0)


def _stacked(photos: list[Photo]) -> Tensor:
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
