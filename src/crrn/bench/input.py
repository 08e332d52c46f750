"""From JPEG files to batches of mixtures, against the field's way, on one core."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from crrn.bench import peers
from crrn.bench.bench import Bench
from crrn.bench.mixing import FIELD, OURS, field_mix, mean_difference, race_models
from crrn.bench.textures import write_textures
from crrn.data import MixtureDataModule
from crrn.data.batch import Batch, collate, form
from crrn.data.dataset import SampleDataset
from crrn.data.plan import Size
from crrn.data.settings import Batches, Loading, Sources, parse_size
from crrn.data.sources import PhotoSource, folder
from crrn.errors import DataError
from crrn.image.picture import Pixels
from crrn.mixing import CEILNetMixing, Mixture, PhotoMixing

CACHED = "crrn, cached"
MIXTURES, PAIRS = "crrn, mixtures", "crrn, real pairs"


class InputSuite:
    """Samples a second of CPU time: each formation model alone, decoding alone, and end to end, with and without the
    photo cache.

    Both sides read the same files (from the system's cache) and mix the same photos with the same parameters; neither
    augments, as the results are compared: mixtures to a mean difference of 1e-4, and of 0.03 where the photos were
    resized, which the field does by PIL's bicubic filter. End to end, the model is CEILNet's.

    Args:
        mixing: the formation models, each of which is measured at the first of the sizes.
        sizes: "HEIGHTxWIDTH" of the batches.
        photos: a folder of photos; None makes textures.
        photo_sizes: of the textures: 375x500 is what most photos of PASCAL VOC have, 256 pixels are the short side of
            many prepared sets.
        batch: mixtures in a batch.
    """

    def __init__(
        self,
        mixing: PhotoMixing,
        sizes: Sequence[str] = ("224x224", "224x288"),
        photos: str | None = None,
        photo_sizes: Sequence[str] = ("375x500", "256x341"),
        batch: int = 8,
    ) -> None:
        self.mixing = mixing
        self.sizes = [parse_size("suite.input.sizes", size) for size in sizes]
        self.photos = photos
        self.photo_sizes = {size: parse_size("suite.input.photo_sizes", size) for size in photo_sizes}
        self.batch = batch

    def run(self, bench: Bench) -> None:
        """Measures each size on one thread."""
        with tempfile.TemporaryDirectory() as temporary, bench.with_threads(1):
            if self.photos:
                sets = {self.photos: list(folder(self.photos).files)}
            else:
                sets = {
                    f"files of {name}": write_textures(Path(temporary, name), 3 * self.batch, *size)
                    for name, size in self.photo_sizes.items()
                }
            first = Pipeline(next(iter(sets.values())), self.sizes[0], self.batch)
            race_models(bench, self.mixing, ready_photos(first.load()))
            for size in self.sizes:
                for name, files in sets.items():
                    self._from_files(bench, name, files, size, Path(temporary))

    def _from_files(self, bench: Bench, name: str, files: list[Path], size: Size, folder: Path) -> None:
        plain, cached, augmented = (
            Pipeline(files, size, self.batch, cache, augment)
            for cache, augment in ((False, False), (True, False), (True, True))
        )
        where = f"{size[0]}x{size[1]}, {name}"
        race = partial(bench.race, items=self.batch, unit="sample", cpu_time=True)
        race(
            f"to uint8 pairs of {where}",
            {FIELD: plain.field_load, OURS: plain.load, CACHED: cached.load, f"{CACHED}, augmented": augmented.load},
            reference=FIELD,
            tolerance=0.03,
            difference=mean_photo_difference,
            incomparable=[f"{CACHED}, augmented"],
        )
        pairs = pairs_of(files[: 3 * self.batch], Path(tempfile.mkdtemp(dir=folder)))
        race(
            f"mixtures and real pairs of {where}",
            {MIXTURES: plain.make, PAIRS: Pipeline(files, size, self.batch, pairs=pairs).make},
            reference=MIXTURES,
            tolerance=0,
            incomparable=[PAIRS],
            targets={PAIRS: 1},
        )
        race(
            f"to mixtures of {where}",
            {FIELD: plain.field_make, OURS: plain.make, CACHED: cached.make},
            reference=FIELD,
            tolerance=0.03,
            difference=mean_difference,
            targets={OURS: 8, CACHED: 20},
        )


class Pipeline:
    """One batch of mixtures, made by crrn's data module or in the field's way, from the same recipes."""

    def __init__(
        self,
        files: list[Path],
        size: Size,
        batch: int,
        cache: bool = False,
        augment: bool = False,
        pairs: Path | None = None,
    ) -> None:
        self.size = size
        half = len(files) // 2
        self.module = MixtureDataModule(
            PhotoSource("backgrounds", tuple(files[:half])),
            PhotoSource("reflections", tuple(files[half:])),
            CEILNetMixing(),
            seed=2018,
            sources=Sources(pairs=[pairs], pair_share=1) if pairs else Sources(),
            batches=Batches(
                batch_size=batch,
                sizes=[f"{size[0]}x{size[1]}"],
                samples_per_epoch=batch,
                rotate=10 if augment else 0,
                flip=augment,
            ),
            loading=Loading(num_workers=0, cache=cache),
        )
        loader = self.module.train_dataloader()
        data = loader.dataset
        assert isinstance(data, SampleDataset) and loader.batch_sampler is not None
        self.data = data
        (self.keys,) = loader.batch_sampler
        recipes = [data.plan(0, k) for k in range(batch)]
        self.samples = [
            (
                data.background.files[r.background],
                data.reflection.files[r.reflection],
                dict(r.parameters),
            )
            for r in recipes
        ]

    def load(self) -> Batch:
        """What a worker does for a batch."""
        batch = collate([self.data[key] for key in self.keys])
        if isinstance(batch, DataError):
            raise batch
        return batch

    def mix(self, batch: Batch) -> Mixture:
        """What the device does with it."""
        mixture: Mixture = form(batch, self.module.mixing)
        return mixture

    def make(self) -> Mixture:
        """Files to mixtures."""
        return self.mix(self.load())

    def field_load(self) -> list[tuple[Pixels, Pixels]]:
        """The two photos of each mixture in the field's way."""
        return [(peers.read(first, self.size), peers.read(second, self.size)) for first, second, _ in self.samples]

    def field_mix(self, photos: Sequence[tuple[Pixels, Pixels]]) -> Mixture:
        """The field's synthesis, sample by sample."""
        return field_mix("CEILNetMixing", photos, [parameters for _, _, parameters in self.samples])

    def field_make(self) -> Mixture:
        """Files to mixtures in the field's way."""
        return self.field_mix(self.field_load())


def pairs_of(files: Sequence[Path], root: Path) -> Path:
    """A folder of pairs, of each file with itself: what they cost does not depend on what they show."""
    for role in ("blended", "transmission_layer"):
        (root / role).mkdir()
        for file in files:
            shutil.copy(file, root / role)
    return root


def ready_photos(batch: Batch) -> list[tuple[Pixels, Pixels]]:
    """The photos of a batch one by one, (H, W, 3)."""
    layers = [photos.permute(0, 2, 3, 1).contiguous().numpy() for photos in two_photos(batch)]
    return list(zip(*layers, strict=True))


def two_photos(batch: Batch) -> tuple[Tensor, Tensor]:
    """The two photos of all rows, of a batch without pairs."""
    assert batch.photos is not None
    background, reflection = batch.photos[:2]
    assert isinstance(background, Tensor) and isinstance(reflection, Tensor)
    return background, reflection


def mean_photo_difference(first: Any, second: Any) -> float:
    """The mean absolute difference of two lists of pairs of photos, as a share of 255."""
    differences = [
        np.abs(np.subtract(a, b, dtype=np.int16)).mean() for a, b in zip(pictures(first), pictures(second), strict=True)
    ]
    return float(np.mean(differences)) / 255


def pictures(batch: Batch | list[tuple[Pixels, Pixels]]) -> list[Pixels]:
    """All photos of a batch of either side."""
    pairs = ready_photos(batch) if isinstance(batch, Batch) else batch
    return [photo for pair in pairs for photo in pair]
