"""From keys to samples, in the workers: mixtures to be, and real pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch.utils.data import Dataset

from crrn.data.augment import Augmentation
from crrn.data.batch import Sample, TakenPair, TwoPhotos
from crrn.data.pairs import PairSource
from crrn.data.photos import Photo, PhotoBank, crop_window, resize
from crrn.data.plan import Geometry, MixingPlan, PairRecipe, Size
from crrn.data.sampler import Key
from crrn.data.tone import matched, reflection_above, scaled
from crrn.errors import DataError

Item = TypeVar("Item")


class PairBank:
    """Real pairs by index, decoded.

    Args:
        source: the pairs.
        size, cache, squeeze: see `PhotoBank`.
        match_tone: fit each background's colour to its photo's, see `crrn.data.tone.matched`.
    """

    def __init__(
        self, source: PairSource, size: Size, cache: bool = False, squeeze: bool = True, match_tone: bool = False
    ) -> None:
        self.source = source
        self.match_tone = match_tone
        pairs = source.pairs
        self.mixtures = PhotoBank([pair.mixture for pair in pairs], size, cache, squeeze)
        self.backgrounds = PhotoBank([pair.background for pair in pairs], size, cache, squeeze)
        reflections = [pair.reflection for pair in pairs if pair.reflection is not None]
        self.reflections = PhotoBank(reflections, size, cache, squeeze)
        numbers = {file: number for number, file in enumerate(reflections)}
        self.reflection_of = [None if pair.reflection is None else numbers[pair.reflection] for pair in pairs]

    def __len__(self) -> int:
        return len(self.mixtures)

    def __getitem__(self, index: int) -> TakenPair:
        """Pair number ``index``; not to be written to.

        Raises:
            DataError: naming a file that cannot be decoded.
        """
        number = self.reflection_of[index]
        mixture, background = self.mixtures[index], self.backgrounds[index]
        return TakenPair(
            mixture,
            matched(background, mixture) if self.match_tone else background,
            None if number is None else self.reflections[number],
        )

    def reflection(self, index: int) -> Photo:
        """The visible reflection of a pair as a photo: the layer itself, or what the photo shows above its
        background."""
        number = self.reflection_of[index]
        if number is not None:
            return self.reflections[number]
        return reflection_above(self.mixtures[index], self.backgrounds[index])


class SampleDataset(Dataset[Sample | DataError]):
    """Decodes, crops, resizes and augments the photos of the sample that a key names.

    Args:
        plan: tells which two photos a key of a mixture means.
        background: the photos that the plan calls backgrounds.
        reflection: likewise.
        pair_plan: tells which pair a key of a pair means.
        pairs: the real pairs; None: there are none.
        augmentation: None leaves the photos as they are.
        on_corrupt: "error", or "skip" to replace a photo or pair that cannot be decoded by the next good one in its
            list.
    """

    def __init__(
        self,
        plan: MixingPlan,
        background: PhotoBank,
        reflection: PhotoBank,
        pair_plan: Callable[[int, int], PairRecipe] | None = None,
        pairs: PairBank | None = None,
        augmentation: Augmentation | None = None,
        on_corrupt: str = "error",
    ) -> None:
        self.plan = plan
        self.background = background
        self.reflection = reflection
        self.pair_plan = pair_plan
        self.pairs = pairs
        self.augmentation = augmentation
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
            reflection = self._first_good(recipe.pair, self.pairs.reflection, skipped)
        else:
            partner = self.reflection.files[recipe.reflection]
            background, file = self._photo(self.background, recipe.background, partner, skipped)
            reflection, _ = self._photo(self.reflection, recipe.reflection, file, skipped)
        first, second = recipe.geometry
        return TwoPhotos(
            self._placed(background, size, first), self._placed(reflection, size, second), recipe.parameters
        )

    def _pair(self, key: Key, skipped: list[str]) -> TakenPair:
        assert self.pairs is not None and self.pair_plan is not None
        recipe = self.pair_plan(key.epoch, key.k)
        pair = self._first_good(recipe.pair, self.pairs.__getitem__, skipped)
        size = (key.height, key.width)
        photos = [None if photo is None else self._placed(photo, size, recipe.geometry) for photo in pair]
        if (recipe.gains != 1).any():
            photos = [None if photo is None else scaled(photo, recipe.gains) for photo in photos]
        mixture, background, reflection = photos
        assert mixture is not None and background is not None
        return TakenPair(mixture, background, reflection)

    def _placed(self, photo: Photo, size: Size, geometry: Geometry) -> Photo:
        """Crops, resizes and augments a photo."""
        if geometry.scale is not None:
            photo = photo[crop_window(photo.shape, size, geometry.scale, geometry.position)]
        photo = resize(photo, size)
        return photo if self.augmentation is None else self.augmentation(photo, geometry.augmentation)

    def _first_good(self, index: int, read: Callable[[int], Item], skipped: list[str]) -> Item:
        """What ``read`` gives of a pair; a corrupt pair is replaced by the next good one."""
        assert self.pairs is not None
        for step in range(len(self.pairs)):
            number = (index + step) % len(self.pairs)
            try:
                return read(number)
            except DataError:
                if self.on_corrupt == "error":
                    raise
                skipped.append(str(self.pairs.mixtures.files[number]))
        raise DataError(f"not one of the {len(self.pairs)} real pairs can be read: replace their files.")

    def _photo(self, bank: PhotoBank, index: int, partner: Path | None, skipped: list[str]) -> tuple[Photo, Path]:
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
