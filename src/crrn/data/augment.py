"""Augmentation of single photos; the only module that knows albumentations."""

from __future__ import annotations

import os

import cv2
import numpy as np

from crrn.data.photos import Photo
from crrn.errors import ConfigError

# albumentations asks a server for its newest version at import, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A


class Augmentation:
    """Flips a photo left to right with probability 1/2, and turns it by up to ``rotate`` degrees with probability 1/2.

    The paper trains with "image rotation and flipping" and says no more: the angle, the reflected border, the
    probabilities and leaving half of the photos unturned (turning blurs slightly) are our choice.

    Args:
        rotate: largest angle in degrees, to either side; 0 never turns.
        flip: whether to flip.

    Raises:
        ConfigError: an angle outside [0, 180].
    """

    def __init__(self, rotate: float = 10.0, flip: bool = True) -> None:
        if not 0 <= rotate <= 180:
            raise ConfigError(f"data.batches.rotate={rotate:g} is not an angle in degrees between 0 and 180.")
        self.transforms: list[A.BasicTransform] = []
        if flip:
            self.transforms.append(A.HorizontalFlip(p=0.5))
        if rotate > 0:
            self.transforms.append(A.Rotate(limit=(-rotate, rotate), border_mode=cv2.BORDER_REFLECT_101, p=0.5))

    def __call__(self, photo: Photo, seed: int) -> Photo:
        """Augment a photo, uint8 (H, W, 3), as ``seed`` says; gives a photo of the same shape."""
        # Not through A.Compose: it gives all its transforms the same seed, and then exactly the flipped photos get
        # turned.
        for number, transform in enumerate(self.transforms):
            transform.set_random_seed(seed + number)
            photo = transform(image=photo)["image"]
        return np.ascontiguousarray(photo)
