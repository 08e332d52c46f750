"""Working size and strength against Pillow and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crrn.image.working_size import at_strength, at_working_size, working_size
from crrn.layers import Layers


def pillow(planes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Each plane of (C, H, W) resized by Pillow's bicubic filter in floating point."""
    resized = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)) for plane in planes]
    return np.stack(resized)


def darkened(image: Tensor) -> Layers:
    """A remover whose estimate depends on the size that it sees."""
    background = (image * 0.6 + 0.02 * torch.linspace(-1, 1, image.shape[-1])).clamp(0, 1)
    return Layers(background, image - background, image.mean(1, keepdim=True))


@pytest.mark.parametrize(("size", "side", "small"), [((90, 133), 40, (40, 59)), ((240, 64), 33, (124, 33))])
def test_the_correction_of_a_small_copy_is_added_to_the_photo(
    size: tuple[int, int], side: int, small: tuple[int, int]
) -> None:
    photo = torch.rand(1, 3, *size)
    seen = []

    def estimate(image: Tensor) -> Layers:
        seen.append(tuple(image.shape[-2:]))
        return darkened(image)

    layers = at_working_size(estimate, photo, side)
    assert seen == [small] == [working_size(*size, side)]

    planes = photo[0].numpy()
    copy = pillow(planes, *small).clip(0, 1)
    ramp = 0.02 * np.linspace(-1, 1, small[1], dtype=np.float32)
    background = (copy * np.float32(0.6) + ramp).clip(0, 1)
    expected = (planes + pillow(background - copy, *size)).clip(0, 1)
    assert layers.background is not None and layers.reflection is not None and layers.gradient is not None
    np.testing.assert_allclose(layers.background[0].numpy(), expected, rtol=0, atol=2e-5)
    reflection = pillow(copy - background, *size).clip(0, 1)
    np.testing.assert_allclose(layers.reflection[0].numpy(), reflection, rtol=0, atol=2e-5)
    assert layers.gradient.shape == (1, 1, *size)


def test_detail_stays_the_photos_own() -> None:
    """A constant correction moves every pixel of a chequerboard by the same amount."""
    photo = 0.3 + 0.4 * ((torch.arange(200)[:, None] + torch.arange(300)) % 2).expand(1, 3, -1, -1)
    layers = at_working_size(lambda image: Layers(image - 0.125), photo, 50)
    assert layers.background is not None
    torch.testing.assert_close(layers.background, photo - 0.125, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [None, 48, 1000])
def test_a_photo_that_is_small_enough_is_seen_as_it_is(side: int | None) -> None:
    photo = torch.rand(1, 3, 48, 80)
    layers = at_working_size(darkened, photo, side)
    assert all(torch.equal(layer, other) for layer, other in zip(layers, darkened(photo), strict=True))


def test_layers_that_are_not_estimated_stay_absent() -> None:
    layers = at_working_size(lambda image: Layers(reflection=image), torch.rand(1, 3, 60, 70), 32)
    assert layers.background is None and layers.gradient is None and layers.reflection is not None


@pytest.mark.parametrize("strength", [0, 30, 100, 150])
def test_strength_is_a_share_of_the_change(strength: float) -> None:
    photo, background = torch.rand(2, 1, 3, 20, 30)
    expected = (photo + strength / 100 * (background - photo)).numpy().clip(0, 1)
    np.testing.assert_allclose(at_strength(photo, background, strength).numpy(), expected, rtol=0, atol=1e-6)
    assert torch.equal(at_strength(photo, background, 0), photo)
    assert torch.equal(at_strength(photo, background, 100), background)
