"""All of a run's data randomness: which photos, parameters and sizes, as pure functions of (seed, epoch, counter).

Nothing is drawn from a global or a running stream, so any number of workers or ranks, any prefetching and any resume
see the same mixtures. Each draw has its own Philox generator: the key is (seed, epoch), the counter is (stream, k).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crrn.errors import DataError
from crrn.mixing.model import Drawn

Size = tuple[int, int]


class Geometry(NamedTuple):
    """What is done to one photo: it is cropped, resized to the batch's size, flipped and rotated, in this order.

    Attributes:
        scale: see `crrn.data.resize.crop_window`; None squeezes the whole photo.
        position: likewise.
        flip: whether the photo is flipped left to right.
        angle: degrees by which it is rotated counterclockwise.
    """

    scale: float | None = None
    position: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    angle: float = 0.0


class Augmentation(NamedTuple):
    """The ranges from which the geometry of a photo is drawn; the default leaves each photo as it is.

    The paper trains with "image rotation and flipping" and gives no numbers. The angle, the two probabilities of 1/2
    and the reflected border are our choices; half of the photos are not rotated, as rotating blurs slightly.

    Attributes:
        scale: (low, high) of the crop's scale, see `crrn.data.settings.Batches`; None squeezes the whole photo.
        rotate: the largest angle in degrees, to either side; half of the photos are rotated.
        flip: whether half of the photos are flipped.
    """

    scale: Sequence[float] | None = None
    rotate: float = 0.0
    flip: bool = False

    def draw(self, rng: np.random.Generator) -> Geometry:
        """Draw the geometry of one photo. It always takes six numbers: no setting changes what another one gives."""
        flipped, rotated, angle, scale, top, left = (float(number) for number in rng.random(6))
        return Geometry(
            scale=None if self.scale is None else self.scale[0] + (self.scale[1] - self.scale[0]) * scale,
            position=(0.0, 0.0) if self.scale is None else (top, left),
            flip=self.flip and flipped < 0.5,
            angle=self.rotate * (2 * angle - 1) if self.rotate and rotated < 0.5 else 0.0,
        )


UNCHANGED = Augmentation()


class Recipe(NamedTuple):
    """One mixture to be.

    Attributes:
        background: index into the plan's backgrounds.
        reflection: index into the plan's reflections.
        pair: index of the real pair whose reflection takes the photo's place; None where the photo serves.
        geometry: of the background and of the reflection.
        parameters: the formation model's parameters.
    """

    background: int
    reflection: int
    pair: int | None
    geometry: tuple[Geometry, Geometry]
    parameters: Drawn


class MixingPlan:
    """The recipes of all mixtures of a run.

    In each epoch the backgrounds are gone through in a random order, then again in another one, and so are the
    reflections: how often two photos appear differs by one at most. A photo is never mixed with itself, also where the
    two lists share photos (with only two reflections this can cost their counts the exact balance).

    Args:
        seed: any whole number.
        backgrounds: the background photos.
        reflections: the reflection photos.
        draw: gives a formation model's parameters for one mixture from a generator.
        sizes: the batch sizes (height, width) to choose from.
        augmentation: the ranges of the photos' geometry.
        uses_pair: whether a mixture of these parameters takes the reflection of a real pair; None: none does.
        pairs: draws that pair.

    Raises:
        DataError: both lists hold one and the same photo.
    """

    def __init__(
        self,
        seed: int,
        backgrounds: Sequence[Path],
        reflections: Sequence[Path],
        draw: Callable[[np.random.Generator], Drawn],
        sizes: Sequence[Size],
        augmentation: Augmentation = UNCHANGED,
        uses_pair: Callable[[Drawn], bool] | None = None,
        pairs: PairPlan | None = None,
    ) -> None:
        self.seed = seed
        self.draw = draw
        self.sizes = tuple(sizes)
        self.augmentation = augmentation
        self.uses_pair = uses_pair
        self.pairs = pairs
        numbers = {file: number for number, file in enumerate(dict.fromkeys([*backgrounds, *reflections]))}
        self._reflections = np.array([numbers[file] for file in reflections])
        photos = np.array([numbers[file] for file in backgrounds])
        # With a single reflection, that photo cannot be a background too.
        usable = photos != self._reflections[0] if len(reflections) == 1 else np.ones(len(photos), bool)
        if not usable.any():
            raise DataError(
                f"background and reflection are both the one photo {reflections[0]}: set data.background or "
                "data.reflection to a folder with more photos."
            )
        self._background_index = np.flatnonzero(usable)
        self._backgrounds = photos[usable]
        self._matching = lru_cache(maxsize=4)(self._match)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: the cache stays behind."""
        return {name: value for name, value in self.__dict__.items() if name != "_matching"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._matching = lru_cache(maxsize=4)(self._match)

    def __call__(self, epoch: int, k: int) -> Recipe:
        """The recipe of mixture k >= 0 of an epoch; k is unbounded."""
        cycle, position = divmod(k, len(self._reflections))
        # A stream of its own: another formation model still sees the same photos with the same geometry.
        moves = generator(self.seed, epoch, Stream.GEOMETRY, k)
        parameters = self.draw(generator(self.seed, epoch, Stream.MIXTURE, k))
        taken = self.uses_pair is not None and self.uses_pair(parameters)
        return Recipe(
            background=int(self._background_index[self._background_order(epoch, k, 1)[0]]),
            reflection=int(self._matching(epoch, cycle)[position]),
            pair=self.pairs(epoch, k).pair if taken and self.pairs is not None else None,
            geometry=(self.augmentation.draw(moves), self.augmentation.draw(moves)),
            parameters=parameters,
        )

    def size(self, epoch: int, batch: int) -> Size:
        """The size of batch number ``batch`` of an epoch: one of ``sizes``, each equally likely (our choice)."""
        rng = generator(self.seed, epoch, Stream.SIZE, batch)
        return self.sizes[int(rng.integers(len(self.sizes)))]

    def _background_order(self, epoch: int, first: int, count: int) -> NDArray[np.int64]:
        """The backgrounds of mixtures ``first`` to ``first + count`` - 1."""
        length = len(self._backgrounds)
        cycles = range(first // length, (first + count - 1) // length + 1)
        orders = [permutation(self.seed, epoch, Stream.BACKGROUND, cycle, length) for cycle in cycles]
        return np.concatenate(orders)[first % length :][:count]

    def _match(self, epoch: int, cycle: int) -> NDArray[np.int64]:
        """One pass over the reflections, rearranged so that none meets itself among its backgrounds."""
        count = len(self._reflections)
        order = permutation(self.seed, epoch, Stream.REFLECTION, cycle, count).copy()
        background = self._backgrounds[self._background_order(epoch, cycle * count, count)]
        clashes = np.flatnonzero(background == self._reflections[order])
        if len(clashes) == 1:
            # Swap with the next place that has another background: neither of the two then meets itself.
            clash = int(clashes[0])
            places = (clash + np.arange(1, count)) % count
            others = places[background[places] != background[clash]]
            if len(others) == 0:  # nothing to swap with (two reflections, or one background): take another reflection
                order[clash] = (order[clash] + 1) % count
                return order
            clashes = np.array([clash, int(others[0])])
        order[clashes] = order[np.roll(clashes, 1)]
        return order


class PairRecipe(NamedTuple):
    """One real pair to be.

    Attributes:
        pair: its index.
        geometry: of both photos.
        gains: what each channel's linear light of both photos is multiplied by, (3,).
    """

    pair: int
    geometry: Geometry
    gains: NDArray[np.float32]


class PairPlan:
    """The recipes of all real pairs of a run: each is drawn on its own, with replacement.

    Args:
        seed: any whole number.
        scenes: the scene of each pair.
        by_scene: draws a scene, then one of its pairs; otherwise each pair is equally likely.
        augmentation: the ranges of the geometry, which is the same for both photos of a pair.
        jitter: largest change of the exposure, and of each channel's gain, as a share.
    """

    def __init__(
        self,
        seed: int,
        scenes: Sequence[str],
        by_scene: bool = True,
        augmentation: Augmentation = UNCHANGED,
        jitter: float = 0.0,
    ) -> None:
        self.seed = seed
        names = dict.fromkeys(scenes) if by_scene else {}
        # Without scenes, one group holds all.
        self.groups = [[n for n, own in enumerate(scenes) if own == name] for name in names] or [[*range(len(scenes))]]
        self.augmentation = augmentation
        self.jitter = jitter

    def __call__(self, epoch: int, k: int) -> PairRecipe:
        """The recipe of the pair that is sample k of an epoch."""
        rng = generator(self.seed, epoch, Stream.PAIR, k)
        group = self.groups[int(rng.integers(len(self.groups)))]
        pair = group[int(rng.integers(len(group)))]
        drawn = self.augmentation.draw(rng)
        changes = 1 + self.jitter * rng.uniform(-1, 1, size=4)
        return PairRecipe(pair, drawn, (changes[0] * changes[1:]).astype(np.float32))


class Stream(IntEnum):
    """What a generator is for: draws for different purposes never share numbers."""

    MIXTURE = 0
    SIZE = 1
    BACKGROUND = 2
    REFLECTION = 3
    GEOMETRY = 4
    PAIR = 5


def generator(seed: int, epoch: int, stream: Stream, counter: int) -> np.random.Generator:
    """The random numbers of one purpose: a pure function of the arguments, with no state kept anywhere."""
    # The lowest two of the counter's four words are left to the generator itself.
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, stream, counter], dtype=np.uint64)))


@lru_cache(maxsize=16)
def permutation(seed: int, epoch: int, stream: Stream, cycle: int, count: int) -> NDArray[np.int64]:
    """The random order in which pass number ``cycle`` of an epoch goes through ``count`` photos; read-only."""
    order = generator(seed, epoch, stream, cycle).permutation(count)
    order.setflags(write=False)
    return order
