"""From keys to samples, in the workers: mixtures to be, and real pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import Dataset

from crrn.data.augment import flipped, rotated
from crrn.data.banks import PairBank, Pairs, Photos, Storage
from crrn.data.batch import Sample, TakenPair, TwoPhotos
from crrn.data.device import Cut, DevicePhotos, StoredPhoto
from crrn.data.photos import PhotoBank
from crrn.data.plan import Geometry, MixingPlan, PairRecipe, Size
from crrn.data.resize import crop_window, resize
from crrn.data.sampler import Key
from crrn.errors import DataError
from crrn.image.picture import Pixels

Item = TypeVar("Item")


class SampleDataset(Dataset[Sample | DataError]):
    """Decodes, crops, resizes, flips and rotates the photos of the sample that a key names.

    Of photos that a device keeps, it only says what the device is to do.

    Args:
        plan: tells which two photos a key of a mixture means.
        background: the photos that the plan calls backgrounds.
        reflection: likewise.
        pair_plan: tells which pair a key of a pair means.
        pairs: the real pairs; None: there are none.
        on_corrupt: "error", or "skip" to replace a photo or pair that cannot be decoded by the next good one in its
            list.
    """

    def __init__(
        self,
        plan: MixingPlan,
        background: Photos,
        reflection: Photos,
        pair_plan: Callable[[int, int], PairRecipe] | None = None,
        pairs: Pairs | None = None,
        on_corrupt: str = "error",
    ) -> None:
        self.plan = plan
        self.background = background
        self.reflection = reflection
        self.pair_plan = pair_plan
        self.pairs = pairs
        self.on_corrupt = on_corrupt

    def __getitem__(self, key: Key) -> Sample | DataError:
        """The sample, or the DataError that a photo caused.

        The error is given back instead of raised: raised in a worker process it would reach the user as the text of a
        traceback.
        """
        skipped: list[str] = []
        try:
            content = self._pair(key, skipped) if key.pair else self._two_photos(key, skipped)
        except DataError as error:
            return error.with_traceback(None)
        return Sample(content, key.k, skipped)

    def _two_photos(self, key: Key, skipped: list[str]) -> TwoPhotos:
        recipe = self.plan(key.epoch, key.k)
        size = (key.height, key.width)
        if recipe.pair is not None and self.pairs is not None:
            background, _ = self._photo(self.background, recipe.background, None, skipped)
            reflection = self._of_pair(recipe.pair, self.pairs.reflection, skipped)
        else:
            partner = self.reflection.files[recipe.reflection]
            background, file = self._photo(self.background, recipe.background, partner, skipped)
            reflection, _ = self._photo(self.reflection, recipe.reflection, file, skipped)
        first, second = recipe.geometry
        return TwoPhotos(placed(background, size, first), placed(reflection, size, second), recipe.parameters)

    def _pair(self, key: Key, skipped: list[str]) -> TakenPair:
        assert self.pairs is not None and self.pair_plan is not None
        recipe = self.pair_plan(key.epoch, key.k)
        pair = self._of_pair(recipe.pair, self.pairs.__getitem__, skipped)
        size = (key.height, key.width)
        mixture, background, reflection = pair
        return TakenPair(
            placed(mixture, size, recipe.geometry),
            placed(background, size, recipe.geometry),
            None if reflection is None else placed(reflection, size, recipe.geometry),
            recipe.gains,
        )

    def _photo(
        self, bank: Photos, index: int, partner: Path | None, skipped: list[str]
    ) -> tuple[Pixels | StoredPhoto, Path]:
        """The photo and its file; a corrupt one is replaced by the next good one that is not ``partner``."""
        none = f"not one of the {len(bank)} photos from {bank.files[index]} on can be read: replace them."
        return self._first_good(bank.files, index, bank.__getitem__, skipped, none, partner)

    def _of_pair(self, index: int, read: Callable[[int], Item], skipped: list[str]) -> Item:
        """What ``read`` gives of a pair; a corrupt pair is replaced by the next good one."""
        assert self.pairs is not None
        none = f"not one of the {len(self.pairs)} real pairs can be read: replace their files."
        return self._first_good(self.pairs.files, index, read, skipped, none)[0]

    def _first_good(
        self,
        files: Sequence[Path],
        index: int,
        read: Callable[[int], Item],
        skipped: list[str],
        none: str,
        partner: Path | None = None,
    ) -> tuple[Item, Path]:
        """What ``read`` gives, and its file: of number ``index`` or, where that is corrupt and may be skipped, of the
        next good one whose file is not ``partner``; DataError with the message ``none`` where there is none."""
        for step in range(len(files)):
            number = (index + step) % len(files)
            file = files[number]
            if step and file == partner:
                continue
            try:
                return read(number), file
            except DataError:
                if self.on_corrupt == "error":
                    raise
                skipped.append(str(file))
        raise DataError(none)


def placed(photo: Pixels | StoredPhoto, size: Size, geometry: Geometry) -> Pixels | Cut:
    """Crop, resize, flip and rotate a photo, or say how the device that keeps it is to do so."""
    if isinstance(photo, StoredPhoto):
        return photo.cut(size, geometry)
    if geometry.scale is not None:
        photo = photo[crop_window(photo.shape, size, geometry.scale, geometry.position)]
    photo = resize(photo, size)
    if geometry.flip:
        photo = flipped(photo)
    return rotated(photo, geometry.angle) if geometry.angle else photo


def kept_on(device: torch.device, datasets: Sequence[SampleDataset]) -> tuple[DevicePhotos, list[SampleDataset]]:
    """Decode all photos of some datasets and keep them on a device.

    Returns:
        The photos, and the same datasets with cuts of these photos in their samples.

    Raises:
        DataError: the device has not enough memory, or a photo cannot be decoded and ``on_corrupt`` is "error".
    """
    storage = Storage()
    banks = []
    for data in datasets:
        assert isinstance(data.background, PhotoBank) and isinstance(data.reflection, PhotoBank)
        assert data.pairs is None or isinstance(data.pairs, PairBank)
        background = storage.photos(data.background)
        reflection = background if data.reflection is data.background else storage.photos(data.reflection)
        pairs = None if data.pairs is None else storage.pairs(data.pairs, data.plan.uses_pair is not None)
        banks.append((background, reflection, pairs))
    kept, places = storage.keep(device, strict=datasets[0].on_corrupt == "error")
    stored = [
        SampleDataset(
            data.plan,
            background(places),
            reflection(places),
            data.pair_plan,
            pairs and pairs(places),
            data.on_corrupt,
        )
        for data, (background, reflection, pairs) in zip(datasets, banks, strict=True)
    ]
    return kept, stored
