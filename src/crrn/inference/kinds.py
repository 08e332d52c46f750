"""The kinds of images that Python programs hold, as removers take them, and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crrn.errors import DataError
from crrn.inference.photo import Photo, read_photo

SLACK = 0.01
"""Floating point values may leave [0, 1] by so much, as after resizing. They are clipped."""

CHANNELS = (1, 2, 3, 4)
"""Grey, grey with alpha, RGB, RGB with alpha."""

CONVERTED = {
    "1": "L",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}
"""PIL's modes that become another one."""

KEPT = ("L", "LA", "RGB", "RGBA", "I;16")
"""PIL's modes that stay."""


class Images(NamedTuple):
    """An image, or a batch of images, in common terms.

    Attributes:
        mixtures: (1, 3, H, W) float in [0, 1] each.
        give_back: makes the image's own kind of layers, (1, 3, H, W) in [0, 1] for each mixture.
    """

    mixtures: list[Tensor]
    give_back: Callable[[list[Tensor]], Any]


def read_image(image: Any) -> Images:
    """An image of any kind that `crrn.remove` takes.

    Raises:
        DataError: it is of another kind, type, shape or range; the message says which are taken.
    """
    if isinstance(image, str | os.PathLike):
        photo = read_photo(os.fspath(image))
        return Images([photo.mixture()], lambda layers: _picture(photo.with_pixels(layers[0])))
    if isinstance(image, Image.Image):
        return _of_picture(image)
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, Tensor):
        return _of_tensor(image)
    raise DataError(
        f"An image of type {type(image).__name__} cannot be read: give a path, a PIL image, a NumPy array (H, W, 3), "
        "or a tensor (3, H, W)."
    )


def _of_picture(image: Image.Image) -> Images:
    mode = CONVERTED.get(image.mode, image.mode)
    transparent = "transparency" in image.info
    if transparent and mode in ("L", "RGB"):
        mode += "A"
    if mode not in KEPT:
        raise DataError(
            f"A PIL image of mode {image.mode} has no agreed range: convert it, as in image.convert('RGB')."
        )
    source = image if mode == image.mode else image.convert(mode)
    taken = _of_array(np.asarray(source))
    info = {key: value for key, value in image.info.items() if key != "transparency"}

    def give_back(layers: list[Tensor]) -> Image.Image:
        result = Image.fromarray(taken.give_back(layers))
        result.info.update(info)
        return result

    return Images(taken.mixtures, give_back)


def _of_array(image: NDArray[Any]) -> Images:
    """(H, W) or (H, W, C): grey or RGB, with or without alpha."""
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim not in (2, 3) or channels not in CHANNELS or 0 in image.shape:
        first = " Is it (3, H, W)? Then give image.transpose(1, 2, 0)." if image.shape[:1] in ((3,), (4,)) else ""
        raise DataError(f"An array of shape {image.shape} is not an image: give (H, W), (H, W, 3) or (H, W, 4).{first}")
    if image.dtype in (np.uint8, np.uint16):
        planes = image.reshape(*image.shape[:2], channels)
        pixels = planes[..., 0] if channels < 3 else planes[..., :3]
        photo = Photo(pixels, None if channels % 2 else planes[..., -1])
        mixtures = [photo.mixture()]

        def give_back(layers: list[Tensor]) -> NDArray[Any]:
            made = photo.with_pixels(layers[0])
            joined = made.pixels if made.alpha is None else np.dstack((made.pixels, made.alpha))
            return joined.reshape(image.shape)

        return Images(mixtures, give_back)
    if not np.issubdtype(image.dtype, np.floating):
        raise DataError(
            f"An array of {image.dtype} has no agreed range: give uint8, uint16, or floating point in [0, 1]."
        )
    planes = np.ascontiguousarray(image.reshape(*image.shape[:2], channels).transpose(2, 0, 1))
    taken = _of_tensor(torch.from_numpy(planes))
    return Images(
        taken.mixtures,
        lambda layers: taken.give_back(layers).numpy().transpose(1, 2, 0).reshape(image.shape).astype(image.dtype),
    )


def _of_tensor(image: Tensor) -> Images:
    """(C, H, W) or (N, C, H, W): grey or RGB, with or without alpha."""
    if image.dim() not in (3, 4) or image.shape[-3] not in CHANNELS or 0 in image.shape:
        last = " Is it (H, W, 3)? Then give image.permute(2, 0, 1)." if image.shape[-1:] in ((3,), (4,)) else ""
        raise DataError(
            f"A tensor of shape {tuple(image.shape)} is not an image: give (3, H, W), or for a batch "
            f"(N, 3, H, W).{last}"
        )
    batch = image.detach()[None] if image.dim() == 3 else image.detach()
    if image.dtype == torch.uint8:
        scale = 255
    elif image.is_floating_point():
        scale = 1
        low, high = (float(value) for value in batch.aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise DataError(
                f"An image with values from {low:.4g} to {high:.4g} is not in [0, 1]: divide it by its range, such as "
                "255, or give uint8."
            )
    else:
        raise DataError(f"A tensor of {image.dtype} has no agreed range: give uint8, or floating point in [0, 1].")
    colours = 1 if batch.shape[1] < 3 else 3
    mixtures = [(one[:, :colours].float() / scale).clamp(0, 1).expand(-1, 3, -1, -1) for one in batch.split(1)]

    def give_back(layers: list[Tensor]) -> Tensor:
        made = torch.cat(layers).to(batch.device)
        made = made.mean(1, keepdim=True) if colours == 1 else made
        made = (made * scale).round() if scale > 1 else made
        return torch.cat((made.to(image.dtype), batch[:, colours:]), dim=1).reshape(image.shape)

    return Images(mixtures, give_back)


def _picture(photo: Photo) -> Image.Image:
    """A photo as a PIL image of 8 bits."""
    planes = photo.pixels if photo.alpha is None else np.dstack((photo.pixels, photo.alpha))
    if photo.bits == 16:
        planes = ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
    picture = Image.fromarray(planes)
    picture.info |= {key: value for key, value in (("icc_profile", photo.icc), ("exif", photo.exif)) if value}
    return picture
