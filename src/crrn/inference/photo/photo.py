"""A decoded photo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 256
"""Rows that are converted at once, so that no second copy of a photo is needed."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright, and what its file held besides the pixels.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W) grey, uint8 or uint16, as the file holds them.
        alpha: (H, W) of the same type, or None.
        icc: the colour profile, or None. The pixels stay in its colours: nothing is converted.
        exif: the EXIF block, "Exif\\0\\0" first, or None. Its orientation is normal, because the pixels are already
        turned.
            Its thumbnail is left out, because it would still show the reflection.
        xmp: the XMP packet, or None. Thumbnails, other pictures and the orientation are left out.
        dpi: pixels per inch along x and y, if the file has them outside of EXIF; otherwise None.
        format: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF" or "HEIF".
        lossless: whether this file's format keeps every pixel.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    lossless: bool = True

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def grey(self) -> bool:
        """Whether it has one channel."""
        return self.pixels.ndim == 2

    @property
    def bits(self) -> int:
        """8 or 16 for each channel."""
        return 8 * self.pixels.dtype.itemsize

    def mixture(self) -> Tensor:
        """The photo as removers take it: (1, 3, H, W) float32 in [0, 1], grey repeated; 12 bytes a pixel."""
        result = torch.empty(1, 3, self.height, self.width)
        planes = self.pixels[..., None] if self.grey else self.pixels
        for top in range(0, self.height, ROWS):
            rows = planes[top : top + ROWS].astype(np.float32)
            result[0, :, top : top + ROWS] = torch.from_numpy(rows).permute(2, 0, 1)
        return result.div_(2**self.bits - 1)

    def with_pixels(self, image: Tensor) -> Photo:
        """This photo with other pixels: the image clipped to [0, 1] and rounded to this photo's bits.

        Args:
            image: (3, H, W) or (1, H, W), or the same with a 1 in front. A grey photo takes the mean of the channels
                (our choice). Of another size than the photo's, it gets no alpha.
        """
        image = image[0] if image.ndim == 4 else image
        height, width = image.shape[-2:]
        shape = (height, width) if self.grey else (height, width, 3)
        pixels = np.empty(shape, self.pixels.dtype)
        for top in range(0, height, ROWS):
            rows = image[:, top : top + ROWS].detach().float().cpu()
            rows = rows.mean(0) if self.grey else rows.expand(3, -1, -1).permute(1, 2, 0)
            levels = rows.clamp(0, 1).mul(2**self.bits - 1).round_().numpy()
            pixels[top : top + ROWS] = levels.astype(self.pixels.dtype)
        alpha = self.alpha if (height, width) == (self.height, self.width) else None
        return replace(self, pixels=pixels, alpha=alpha)
