"""Peak signal-to-noise ratio of images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import mse_loss

from crrn.metrics.mean import double, real

MSE_FLOOR = 1e-10
"""A mean squared error below this counts as this: equal images have 100 dB, not infinity, so that means stay finite."""


def psnr(x: Tensor, y: Tensor, colour: Literal["joint", "channels"] = "joint") -> Tensor:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) in dB of each image, peak 1.

    Args:
        x: (N, C, H, W) in [0, 1].
        y: the same shape.
        colour: "joint" takes one MSE over all channels; "channels" is the mean of the channels' own PSNRs, which is
            never lower (Jensen).

    Returns:
        (N,), float64 (float32 on a device without it), at most 100 dB: the MSE has a floor of 1e-10 (our choice), which
        equal images reach.
    """
    error = mse_loss(real(x), real(y), reduction="none")
    error = double(error.flatten(1).mean(1) if colour == "joint" else error.flatten(2).mean(2))
    decibel = -10 * error.clamp(min=MSE_FLOOR).log10()
    return decibel if colour == "joint" else decibel.mean(1)
