import numpy as np
import pytest
from scipy import ndimage

from crrn.data.augment import flipped, rotated

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def test_a_flip() -> None:
    photo = flipped(PHOTO)
    np.testing.assert_array_equal(photo, PHOTO[:, ::-1])
    assert photo.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("angle", [-170.0, -8.0, 0.5, 90.0])
@pytest.mark.parametrize("shape", [(40, 56, 3), (33, 21, 3)])
def test_a_rotation_is_bilinear_about_the_centre_with_a_reflected_border(angle: float, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(1).uniform(0, 255, shape)
    photo = ndimage.gaussian_filter(noise, (2, 2, 0)).astype(np.uint8)
    centre = (np.array(shape[:2]) - 1) / 2
    radians = np.deg2rad(angle)
    # Counterclockwise with rows that go down: where a pixel (row, column) comes from.
    matrix = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    expected = [
        ndimage.affine_transform(photo[..., c].astype(float), matrix, centre - matrix @ centre, order=1, mode="mirror")
        for c in range(3)
    ]
    made = rotated(photo, angle)
    assert made.shape == photo.shape and made.dtype == np.uint8 and made.flags["C_CONTIGUOUS"]
    # OpenCV rounds coordinates to 1/32 pixel.
    assert np.abs(made - np.stack(expected, 2)).max() < 2


def test_a_quarter_turn_is_counterclockwise() -> None:
    photo = PHOTO[:12, :12]
    np.testing.assert_array_equal(rotated(photo, 90), np.rot90(photo))
