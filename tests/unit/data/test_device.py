import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from tests.trainer import at
from torch import Tensor

from crrn.bench.textures import texture
from crrn.data import Batches, Loading, MixtureDataModule, Sources, Validation, datamodule
from crrn.data.dataset import placed
from crrn.data.device import Cut, DevicePhotos, StoredPhoto, stacked_cuts
from crrn.data.plan import Geometry, Size
from crrn.errors import ConfigError, DataError
from crrn.image.picture import Pixels
from crrn.mixing import Mixture, PaperMixing

MakePhotos = Callable[..., list[Path]]

SIZES = [(90, 120), (224, 288), (120, 60), (64, 64)]
PHOTOS = [texture(number, *size) for number, size in enumerate(SIZES)]


@pytest.fixture
def kept() -> tuple[DevicePhotos, list[StoredPhoto]]:
    photos = DevicePhotos(SIZES, torch.device("cpu"))
    places = photos.fill([lambda photo=photo: photo for photo in PHOTOS])
    return photos, [place for place in places if isinstance(place, StoredPhoto)]


def psnr(made: Tensor, expected: Pixels) -> float:
    error = (made.permute(1, 2, 0).double().numpy() - expected / 255) ** 2
    return math.inf if not error.any() else -10 * math.log10(error.mean())


@pytest.mark.parametrize("size", [(48, 64), (80, 112), (60, 60)])
@pytest.mark.parametrize("crop", [None, 0.5, 1.0])
@pytest.mark.parametrize(("flip", "angle"), [(False, 0.0), (True, 0.0), (False, -7.5), (True, 10.0)])
def test_a_whole_batch_is_that_of_the_path_on_the_host(
    kept: tuple[DevicePhotos, list[StoredPhoto]], size: Size, crop: float | None, flip: bool, angle: float
) -> None:
    photos, places = kept
    geometries = [Geometry(crop, (0.3, 0.8), flip, angle * (number % 3)) for number in range(len(places))]
    cuts = [placed(place, size, geometry) for place, geometry in zip(places, geometries, strict=True)]
    made = photos.cut(stacked_cuts([cut for cut in cuts if isinstance(cut, Cut)]))
    assert made.shape == (4, 3, *size) and made.dtype == torch.float32 and made.is_contiguous()
    for image, photo, geometry in zip(made, PHOTOS, geometries, strict=True):
        expected = placed(photo, size, geometry)
        assert isinstance(expected, np.ndarray)
        assert psnr(image, expected) > 35
        # the error is that of rounding to levels, and, rotated, of OpenCV's coordinates
        assert psnr(image, expected) > (50 if geometry.angle == 0 else 40)


def test_a_photo_of_the_batch_size_keeps_its_bits(kept: tuple[DevicePhotos, list[StoredPhoto]]) -> None:
    photos, places = kept
    made = photos.cut(stacked_cuts([places[1].cut(SIZES[1], Geometry()), places[1].cut(SIZES[1], Geometry(flip=True))]))
    assert torch.equal(made[0], torch.from_numpy(PHOTOS[1]).permute(2, 0, 1) / 255)
    assert torch.equal(made[1], made[0].flip(2))


def test_shrinking_is_pillows_filter(kept: tuple[DevicePhotos, list[StoredPhoto]]) -> None:
    photos, places = kept
    made = photos.cut(stacked_cuts([places[1].cut((70, 90), Geometry())]))
    for c in range(3):
        plane = Image.fromarray(PHOTOS[1][..., c].astype(np.float32)).resize((90, 70), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(made[0, c] * 255, np.asarray(plane), atol=2e-3)


def test_rotating_is_bilinear_with_a_reflected_border(kept: tuple[DevicePhotos, list[StoredPhoto]]) -> None:
    photos, places = kept
    made = photos.cut(stacked_cuts([places[0].cut(SIZES[0], Geometry(angle=30))]))
    radians, centre = math.radians(30), (np.array(SIZES[0]) - 1) / 2
    matrix = np.array([[math.cos(radians), math.sin(radians)], [-math.sin(radians), math.cos(radians)]])
    for c in range(3):
        plane = PHOTOS[0][..., c].astype(float)
        expected = ndimage.affine_transform(plane, matrix, centre - matrix @ centre, order=1, mode="mirror")
        np.testing.assert_allclose(made[0, c] * 255, expected, atol=0.05)


def write_pair(root: Path, scene: int, layer: bool) -> None:
    background, reflection = (texture(50 + 2 * scene + part, 60, 80) // (1 + part) for part in range(2))
    layers = {"blended": np.minimum(background.astype(int) + reflection // 2, 255).astype(np.uint8)}
    layers |= {"transmission_layer": background} | ({"reflection_layer": reflection // 2} if layer else {})
    for folder, picture in layers.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / folder / f"scene_{scene}_0.png")


@pytest.fixture
def make_data(make_photos: MakePhotos, tmp_path: Path) -> Callable[..., MixtureDataModule]:
    make_photos("b", 12, height=70, width=90)
    make_photos("r", 8, height=90, width=70)
    for scene in range(5):
        write_pair(tmp_path / "pairs", scene, layer=scene % 2 == 0)

    def make(cache: bool | str = "device", mixing: Any = None, **changes: Any) -> MixtureDataModule:
        pairs: dict[str, Any] = {"pairs": [tmp_path / "pairs"], "pair_share": 0.5, "pair_jitter": 0.1}
        batches: dict[str, Any] = {"batch_size": 4, "sizes": ["32x40", "48x40"], "samples_per_epoch": 16}
        data = MixtureDataModule(
            tmp_path / "b",
            tmp_path / "r",
            mixing or PaperMixing(),
            seed=3,
            sources=Sources(**{"held_out": 0.2, **pairs, **changes.get("sources", {})}),
            batches=Batches(**{"scale": [0.6, 1], **batches, **changes.get("batches", {})}),
            validation=Validation(mixtures=5, size="40x48"),
            loading=Loading(num_workers=changes.get("workers", 0), cache=cache),
        )
        return at(data, 0)

    return make


def formed(data: MixtureDataModule, loader: Any = None) -> list[Mixture]:
    return [data.on_after_batch_transfer(batch, 0) for batch in loader or data.train_dataloader()]


@pytest.mark.parametrize("scale", [None, [0.6, 1]])
def test_batches_are_those_of_the_host(make_data: Callable[..., MixtureDataModule], scale: Any) -> None:
    changes = {"batches": {"scale": scale}, "sources": {"pair_tone": "match"}}
    ours, theirs = formed(make_data(**changes)), formed(make_data(cache=False, **changes))
    assert len(ours) == len(theirs) == 4
    for a, b in zip(ours, theirs, strict=True):
        assert a.reflection_known is not None and torch.equal(a.reflection_known, b.reflection_known)
        for one, other in zip(a[:3], b[:3], strict=True):
            assert one.shape == other.shape
            assert -10 * math.log10((one - other).square().mean()) > 35


def test_held_out_samples_keep_their_bits(make_data: Callable[..., MixtureDataModule]) -> None:
    ours, theirs = make_data(), make_data(cache=True)
    for one, other in zip(ours.val_dataloader(), theirs.val_dataloader(), strict=True):
        for a, b in zip(formed(ours, one), formed(theirs, other), strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_and_resuming_change_no_bit(make_data: Callable[..., MixtureDataModule]) -> None:
    whole = formed(make_data())
    for changed in (formed(make_data(workers=1)), formed(at(make_data(), 2))[:2]):
        for a, b in zip(changed, whole[-len(changed) :], strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


class Taking(PaperMixing):
    needs_pairs = True

    def uses_pair(self, parameters: Any) -> bool:
        return parameters["alpha"] > 0.9


def test_reflections_that_pairs_show_above_their_background(make_data: Callable[..., MixtureDataModule]) -> None:
    changes: dict[str, Any] = {"mixing": Taking(), "sources": {"pair_share": 0}}
    for a, b in zip(formed(make_data(**changes)), formed(make_data(cache=False, **changes)), strict=True):
        assert -10 * math.log10((a.reflection - b.reflection).square().mean()) > 35


def test_a_photo_is_kept_once_where_both_sources_are_the_same(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_photos("same", 6)
    taken: list[DevicePhotos] = []
    keep = datamodule.kept_on
    monkeypatch.setattr(datamodule, "kept_on", lambda *given: (both := keep(*given), taken.append(both[0]))[0])
    data = MixtureDataModule(
        tmp_path / "same",
        tmp_path / "same",
        PaperMixing(),
        1,
        batches=Batches(batch_size=2, sizes=["32x40"], samples_per_epoch=4),
        validation=Validation(mixtures=1, size="32x40"),
        loading=Loading(num_workers=0, cache="device"),
    )
    formed(data)
    (kept,) = taken
    assert len(kept.sizes) == len(files) and kept.bytes == len(files) * 32 * 40 * 3


def test_a_torn_photo_is_named_or_replaced(
    make_data: Callable[..., MixtureDataModule], truncate: Callable[[Path], Path], tmp_path: Path
) -> None:
    data = make_data(sources={"on_corrupt": "skip"})
    data.setup()
    training: Any = data._train
    cut = truncate(training.background.files[2])
    with pytest.raises(DataError, match=str(cut)):
        make_data().train_dataloader()
    batches = list(data.train_dataloader())
    hit = [str(cut)] * sum(training.plan(0, k).background == 2 for batch in batches for k in batch.k[:4].tolist())
    assert hit and {file for batch in batches for file in batch.skipped} == {str(cut)}
    assert len(formed(data)) == 4


def test_a_cache_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.loading\.cache='disk'"):
        Loading(cache="disk")


def test_too_little_memory_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr("crrn.data.device.torch.empty", exhausted)
    with pytest.raises(DataError, match=r"cpu .* 4 photos .*data\.loading\.cache=true"):
        DevicePhotos(SIZES, torch.device("cpu"))
