import numpy as np
import pytest

from crrn.data.augment import Augmentation
from crrn.errors import ConfigError

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
FLIPPED = PHOTO[:, ::-1]


def test_the_seed_alone_decides() -> None:
    one, other = Augmentation(), Augmentation()
    forwards = [one(PHOTO, seed) for seed in range(30)]
    backwards = [other(PHOTO, seed) for seed in reversed(range(30))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in forwards}) > 10


def test_flip_alone() -> None:
    flip = Augmentation(rotate=0)
    made = [flip(PHOTO, seed) for seed in range(400)]
    flipped = [np.array_equal(photo, FLIPPED) for photo in made]
    assert all(done or np.array_equal(photo, PHOTO) for done, photo in zip(flipped, made, strict=True))
    assert 160 < sum(flipped) < 240


def test_flips_and_turns_are_independent() -> None:
    both = Augmentation()
    made = [both(PHOTO, seed) for seed in range(400)]
    as_it_was = sum(np.array_equal(photo, PHOTO) for photo in made)
    only_flipped = sum(np.array_equal(photo, FLIPPED) for photo in made)
    assert 70 < as_it_was < 130
    assert 70 < only_flipped < 130


def test_turns_stay_within_the_angle_and_keep_the_shape_and_type() -> None:
    # A thin horizontal line, turned: its slope between two columns is the angle's tangent.
    line = np.zeros((101, 101, 3), np.uint8)
    line[50] = 255
    turn = Augmentation(rotate=10, flip=False)
    angles = []
    for seed in range(200):
        photo = turn(line, seed)
        assert photo.shape == line.shape
        assert photo.dtype == np.uint8
        rows = (photo[..., 0] * np.arange(101)[:, None]).sum(0) / photo[..., 0].sum(0)
        angles.append(np.degrees(np.arctan2(rows[90] - rows[10], 80)))
    turned = np.array([angle for angle in angles if abs(angle) > 0.01])
    assert 70 < len(turned) < 130
    assert np.abs(turned).max() <= 10.2
    assert turned.min() < -8
    assert turned.max() > 8


def test_nothing_leaves_the_photo() -> None:
    assert np.array_equal(Augmentation(rotate=0, flip=False)(PHOTO, 1), PHOTO)


@pytest.mark.parametrize("angle", [-1, 181])
def test_a_wrong_angle(angle: float) -> None:
    with pytest.raises(ConfigError, match=rf"data\.batches\.rotate={angle} is not an angle"):
        Augmentation(rotate=angle)
