"""Real pairs by index, and photos and pairs that a device keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from crrn.data.device import DevicePhotos, StoredPhoto
from crrn.data.pairs import PairSource
from crrn.data.photos import PhotoBank
from crrn.data.plan import Size
from crrn.data.tone import matched, reflection_above
from crrn.errors import DataError
from crrn.image.picture import Pixels


class PairPhotos(NamedTuple):
    """The photos of a real pair, uint8 (height, width, 3) or kept by a device; the reflection is None where it is
    unknown."""

    mixture: Pixels | StoredPhoto
    background: Pixels | StoredPhoto
    reflection: Pixels | StoredPhoto | None


class Photos(Protocol):
    """Photos by index: a `PhotoBank` or a `StoredBank`."""

    files: list[Path]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels | StoredPhoto: ...


class Pairs(Protocol):
    """Real pairs by index: a `PairBank` or a `StoredPairs`."""

    files: list[Path]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PairPhotos: ...

    def reflection(self, index: int) -> Pixels | StoredPhoto: ...


class PairBank:
    """Real pairs by index, decoded.

    Args:
        source: the pairs.
        size, cache, squeeze: see `PhotoBank`.
        match_tone: fit each background's colour to its photo's, see `crrn.data.tone.matched`.

    Attributes:
        files: the photos through glass.
    """

    def __init__(
        self, source: PairSource, size: Size, cache: bool = False, squeeze: bool = True, match_tone: bool = False
    ) -> None:
        self.match_tone = match_tone
        pairs = source.pairs
        self.files = [pair.mixture for pair in pairs]
        self.mixtures = PhotoBank(self.files, size, cache, squeeze)
        self.backgrounds = PhotoBank([pair.background for pair in pairs], size, cache, squeeze)
        reflections = [pair.reflection for pair in pairs if pair.reflection is not None]
        self.reflections = PhotoBank(reflections, size, cache, squeeze)
        numbers = {file: number for number, file in enumerate(reflections)}
        self.reflection_of = [None if pair.reflection is None else numbers[pair.reflection] for pair in pairs]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PairPhotos:
        """Pair number ``index``; not to be written to.

        Raises:
            DataError: naming a file that cannot be decoded.
        """
        number = self.reflection_of[index]
        layer = None if number is None else self.reflections[number]
        return PairPhotos(self.mixtures[index], self.background(index), layer)

    def background(self, index: int) -> Pixels:
        """The background of a pair, with its photo's tone where that is matched."""
        background = self.backgrounds[index]
        return matched(background, self.mixtures[index]) if self.match_tone else background

    def reflection(self, index: int) -> Pixels:
        """The visible reflection of a pair as a photo: the layer itself, or what the photo shows above its
        background."""
        number = self.reflection_of[index]
        if number is not None:
            return self.reflections[number]
        return reflection_above(self.mixtures[index], self.backgrounds[index])


class StoredBank:
    """Photos by index that a device keeps.

    Args:
        files: the photos' files.
        places: each photo's place, or the error that stands for it.
    """

    def __init__(self, files: Sequence[Path], places: Sequence[StoredPhoto | DataError]) -> None:
        self.files = list(files)
        self.places = list(places)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> StoredPhoto:
        """The place of photo number ``index``.

        Raises:
            DataError: naming the file, when it could not be decoded.
        """
        return _sound(self.places[index])


class StoredPairs:
    """Real pairs by index that a device keeps.

    Args:
        files: the photos through glass.
        mixtures, backgrounds: the photos of each pair.
        reflections: the visible reflections, by the pair's index; where a reflection is unknown and nothing asks for
            what the photo shows above its background, there is none.
        known: whether each reflection is a layer of the pair.
    """

    def __init__(
        self,
        files: Sequence[Path],
        mixtures: StoredBank,
        backgrounds: StoredBank,
        reflections: Mapping[int, StoredPhoto | DataError],
        known: Sequence[bool],
    ) -> None:
        self.files = list(files)
        self.mixtures = mixtures
        self.backgrounds = backgrounds
        self.reflections = reflections
        self.known = list(known)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PairPhotos:
        """The places of pair number ``index``; raises a DataError where one of its files could not be decoded."""
        layer = self.reflection(index) if self.known[index] else None
        return PairPhotos(self.mixtures[index], self.backgrounds[index], layer)

    def reflection(self, index: int) -> StoredPhoto:
        """The place of the visible reflection of a pair."""
        return _sound(self.reflections[index])


Places = Sequence[StoredPhoto | DataError]
"""Where a device keeps each photo, or the error that stands for it."""


class Storage:
    """What is to be kept on a device: banks are added, then all their photos are decoded at once."""

    def __init__(self) -> None:
        self._sizes: list[Size] = []
        self._reads: list[Callable[[], Pixels]] = []

    def photos(self, bank: PhotoBank) -> Callable[[Places], StoredBank]:
        """Add all photos of a bank; gives what makes its stored bank of `keep`'s places."""
        part = self._add(bank.sizes(), bank.__getitem__, range(len(bank)))
        return lambda places: StoredBank(bank.files, places[part])

    def pairs(self, bank: PairBank, reflections: bool) -> Callable[[Places], StoredPairs]:
        """Add all photos of pairs; gives what makes their stored bank of `keep`'s places.

        Args:
            bank: the pairs.
            reflections: whether also reflections that are unknown are needed, see `PairBank.reflection`.
        """
        sizes, numbers = bank.mixtures.sizes(), range(len(bank))
        known = [number is not None for number in bank.reflection_of]
        layers = [number for number in numbers if reflections or known[number]]
        mixtures = self._add(sizes, bank.mixtures.__getitem__, numbers)
        backgrounds = self._add(sizes, bank.background, numbers)
        visible = self._add([sizes[number] for number in layers], bank.reflection, layers)
        return lambda places: StoredPairs(
            bank.files,
            StoredBank(bank.files, places[mixtures]),
            StoredBank(bank.files, places[backgrounds]),
            dict(zip(layers, places[visible], strict=True)),
            known,
        )

    def keep(self, device: torch.device, strict: bool) -> tuple[DevicePhotos, Places]:
        """Decode all photos and move them to the device; with ``strict`` raises the first photo's DataError."""
        kept = DevicePhotos(self._sizes, device)
        return kept, kept.fill(self._reads, strict)

    def _add(self, sizes: Sequence[Size], read: Callable[[int], Pixels], numbers: Iterable[int]) -> slice:
        first = len(self._sizes)
        self._sizes += sizes
        self._reads += [partial(read, number) for number in numbers]
        return slice(first, len(self._sizes))


def _sound(place: StoredPhoto | DataError) -> StoredPhoto:
    if isinstance(place, DataError):
        raise place
    return place
