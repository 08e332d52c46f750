"""What is measured of one photo: how bright, how blurred, and a hash of what it shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crrn.data.photos import Photo

REBLUR = 11
HASH_SIDE, HASH_LOW = 32, 8


def luma(photo: Photo) -> NDArray[np.float32]:
    """(H, W) in [0, 1] from 8-bit RGB: 0.299 R + 0.587 G + 0.114 B, gamma-coded as it is."""
    grey: NDArray[np.float32] = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return grey


def blur(grey: NDArray[np.float32]) -> float:
    """The blur effect of Crete et al. (2007): 0 is sharp, 1 is blurred. 1 for a photo without any edge.

    The picture is blurred once more along an axis, by 11 pixels; b = 1 - sum(max(0, |dx| - |dx'|)) / sum(|dx|), with dx
    and dx' the Sobel differences before and after, inside a border of two pixels. A sharp picture loses its
    differences, a blurred one has none to lose. The larger b of the two axes counts.
    """
    worst = 0.0
    for axis in (0, 1):
        ksize = (1, REBLUR) if axis == 0 else (REBLUR, 1)
        again = cv2.blur(grey, ksize, borderType=cv2.BORDER_REFLECT)
        before, after = (
            np.abs(cv2.Sobel(picture, cv2.CV_32F, axis, 1 - axis, ksize=3, borderType=cv2.BORDER_REFLECT))[2:-1, 2:-1]
            for picture in (grey, again)
        )
        total = float(before.sum(dtype=np.float64))
        lost = float(np.maximum(before - after, 0).sum(dtype=np.float64))
        worst = max(worst, 1 - lost / total if total > 1e-6 * before.size else 1.0)
    return worst


def perceptual_hash(grey: NDArray[np.float32]) -> int:
    """64 bits of what a photo shows: the signs of the 8x8 lowest frequencies of its 32x32 miniature against their
    median.

    Copies that were resized, compressed, brightened or taken a moment later differ in a few bits, other photos in
    about 32.
    """
    small = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:HASH_LOW, :HASH_LOW].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
