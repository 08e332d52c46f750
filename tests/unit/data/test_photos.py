from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crrn.data.photos import PhotoBank, check_photo, read_photo
from crrn.data.resize import resize
from crrn.errors import DataError


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 4, np.full_like(x, 128)], axis=-1).astype(np.uint8)


def save(file: Path, image: Image.Image, **options: object) -> Path:
    image.save(file, **options)  # type: ignore[arg-type]
    return file


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", Image.fromarray(ramp()))
    np.testing.assert_array_equal(read_photo(file, (40, 60)), ramp())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    # What each of EXIF's orientations says about where the stored rows and columns belong.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](ramp())
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_photo(file, (40, 60)), ramp())


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_is_decoded_smaller_but_not_too_small(tmp_path: Path, orientation: int) -> None:
    big = Image.fromarray(ramp()).resize((960, 640), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / "a.jpg", big if orientation == 1 else big.transpose(Image.Transpose.ROTATE_90), exif=exif)
    expected = np.asarray(big.resize((96, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(read_photo(file, (64, 96)) - expected).max() <= 6


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    white = np.full((40, 40), 65535, np.uint16)
    image = Image.fromarray(white) if mode == "I;16" else Image.new("RGB", (40, 40), "white").convert(mode)
    file = save(tmp_path / "a.tif", image)
    np.testing.assert_array_equal(read_photo(file, (40, 40)), np.full((40, 40, 3), 255))


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path) -> None:
    grey = (np.arange(40 * 40, dtype=np.uint16) * 40).reshape(40, 40)
    file = save(tmp_path / "a.png", Image.fromarray(grey))
    np.testing.assert_array_equal(read_photo(file, (40, 40))[..., 1], grey >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_dropped(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (200, 200, 200, 100)).convert(mode)
    options = {"transparency": bytes([100])} if mode == "P" else {}
    file = save(tmp_path / "a.png", image, **options)
    pixels = read_photo(file, (40, 40))
    assert pixels.shape == (40, 40, 3)
    assert (pixels == 200).all()


def test_whole_photo_is_squeezed() -> None:
    small = resize(ramp(), (20, 20))
    assert small.shape == (20, 20, 3)
    np.testing.assert_allclose(small[10, :, 0], np.linspace(4, 232, 20), atol=1)  # the red ramp from edge to edge


@pytest.mark.parametrize("size", [(40, 50), (56, 130), (17, 23)])
def test_what_shrinks_much_is_filtered_as_pil_does(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (101, 90, 3), dtype=np.uint8)
    photo.flags.writeable = False  # as what PIL decoded
    expected = Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)
    small = resize(photo, size)
    assert small.flags.c_contiguous and small.dtype == np.uint8
    np.testing.assert_allclose(small.astype(int), np.asarray(expected).astype(int), rtol=0, atol=1)


def test_header_check(tmp_path: Path) -> None:
    check_photo(save(tmp_path / "a.jpg", Image.new("RGB", (64, 32))), 32)
    with pytest.raises(DataError, match=r"tiny\.jpg .*31x64 .* 32 .*data\.sources\.min_side"):
        check_photo(save(tmp_path / "tiny.jpg", Image.new("RGB", (64, 31))), 32)
    (tmp_path / "bad.jpg").write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        check_photo(tmp_path / "bad.jpg", 32)


@pytest.mark.parametrize("read", [lambda file: check_photo(file, 32), lambda file: read_photo(file, (8, 8))])
def test_missing_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg"):
        read(tmp_path / "gone.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_truncated_file_is_an_error_not_half_a_picture(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = save(tmp_path / f"cut.{suffix}", Image.fromarray(noise))
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(DataError, match=rf"cut\.{suffix}"):
        read_photo(file, (32, 32))


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.tif", Image.fromarray(np.zeros((40, 40), np.float32)))
    with pytest.raises(DataError, match=r"a\.tif .*floating"):
        read_photo(file, (32, 32))


def test_cached_bank_gives_the_bits_of_the_uncached_one_and_decodes_once(
    make_photos: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_photos("photos", 3)
    plain, cached = PhotoBank(files, (40, 50)), PhotoBank(files, (40, 50), cache=True)
    for index in (2, 0, 1):
        np.testing.assert_array_equal(plain[index], cached[index])
    monkeypatch.setattr("crrn.data.photos.read_photo", lambda *_: pytest.fail("decoded again"))
    for index in range(3):
        assert cached[index].any()


def test_a_corrupt_photo_does_not_enter_the_cache(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image at all")
    bank = PhotoBank([tmp_path / "bad.jpg"], (8, 8), cache=True)
    for _ in range(2):
        with pytest.raises(DataError):
            bank[0]


def test_no_memory_for_the_cache(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3000000000\.0 GB.*data\.loading\.cache=false"):
        PhotoBank([tmp_path / "a.jpg"], (10**9, 10**9), cache=True)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_a_jpeg_has_the_bits_that_pil_decodes(tmp_path: Path, options: dict[str, object], shrink: int) -> None:
    noise = np.random.default_rng(shrink).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    file = save(tmp_path / "a.jpg", Image.fromarray(cv2.GaussianBlur(noise, (5, 5), 2)), quality=80, **options)
    with Image.open(file) as image:
        image.draft("RGB", (128 // shrink, 96 // shrink))
        expected = np.asarray(image)
    assert expected.shape == (96 // shrink, 128 // shrink, 3)
    assert np.array_equal(read_photo(file, expected.shape[:2]), expected)


@pytest.mark.parametrize("tail", [b"", b"\0\0"], ids=["as it is", "bytes behind its end"])
def test_a_jpeg_cut_short_is_an_error_however_it_ends(tmp_path: Path, tail: bytes) -> None:
    file = save(tmp_path / "a.jpg", Image.fromarray(ramp()))
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    assert read_photo(file, (40, 60)).shape == (40, 60, 3)
    file.write_bytes(whole[: len(whole) // 2] + tail)
    with pytest.raises(DataError, match=r"a\.jpg"):
        read_photo(file, (40, 60))
