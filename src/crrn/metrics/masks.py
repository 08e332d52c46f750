"""The region where the reflection dominates, for SSIMr and SIr."""

from __future__ import annotations

from torch import Tensor

from crrn.image.gradient import LUMA

THRESHOLD = 0.1
DERIVED = f"derived: luma of the reflection layer >= {THRESHOLD:g}"
"""What results call such masks; the paper's were drawn by hand and are not public."""


def derive_mask(reflection: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The pixels where the reflection layer's luma reaches a threshold (our choice).

    Args:
        reflection: R as visible in the mixture, (N, 3, H, W) in [0, 1].
        threshold: in [0, 1].

    Returns:
        (N, 1, H, W), bool; empty where no reflection is that bright.
    """
    red, green, blue = LUMA
    luma = red * reflection[:, 0:1] + green * reflection[:, 1:2] + blue * reflection[:, 2:3]
    return luma >= threshold
