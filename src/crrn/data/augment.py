"""Flipping and rotating single photos; the only module that knows albumentations.

What is drawn at random is drawn in the plan (`crrn.data.plan.Augmentation`); albumentations' functions carry it out.
"""

from __future__ import annotations

import os

import cv2
import numpy as np

from crrn.image.picture import Pixels

# albumentations asks a server for its newest version at import, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations.augmentations.geometric.functional as functional


def flipped(photo: Pixels) -> Pixels:
    """Flip a photo, uint8 (H, W, 3), left to right."""
    return np.ascontiguousarray(functional.hflip(photo))


def rotated(photo: Pixels, angle: float) -> Pixels:
    """Rotate a photo, uint8 (H, W, 3), about its centre, bilinearly; the border continues it by reflection.

    Args:
        photo: of any size, which the result keeps.
        angle: degrees, counterclockwise.
    """
    height, width = photo.shape[:2]
    matrix = functional.create_affine_transformation_matrix(
        translate={"x": 0, "y": 0},
        shear={"x": 0, "y": 0},
        scale={"x": 1, "y": 1},
        rotate=angle,
        shift=functional.center((height, width)),
    )
    turned = functional.warp_affine(photo, matrix, cv2.INTER_LINEAR, 0, cv2.BORDER_REFLECT_101, (height, width))
    return np.ascontiguousarray(turned)
