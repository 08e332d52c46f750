"""The gain of an estimate over the identity (output = input), with and without the effect of brightness and colour.

A mean over images hides two things. The harm rate shows the first: how often a photo became worse. The matched gain
shows the second: how much of the gain is not due to brightness. It is the gain after input and estimate both got the
best gain and offset of each channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crrn.metrics.mean import real
from crrn.metrics.psnr import psnr
from crrn.metrics.structure import ssim

HARM_PSNR = 0.05
"""An image is worse than its input where its PSNR is lower by more than so many dB (our choice) ..."""
HARM_SSIM = 0.001
"""... or its SSIM by more than this (our choice): differences that nobody sees count as none."""

HARM_RATE = "harm_rate"
GAINS = ("gain_ssim", "gain_si", "gain_psnr", HARM_RATE)
"""Names of what `gains` gives."""
MATCHED_GAINS = ("matched_gain_ssim", "matched_gain_psnr")
"""Names of what `matched_gains` gives."""


def gains(estimate: Mapping[str, Tensor], identity: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gain of each image over its input, and whether it became worse.

    Args:
        estimate: "ssim", "si" and "psnr" of the estimates, (N,) each, as `crrn.metrics.quality` gives them.
        identity: the same of the inputs.

    Returns:
        (N,) each: the differences "gain_ssim", "gain_si" and "gain_psnr" (dB), and "harm_rate". The latter is 1 if
        PSNR is lower by more than `HARM_PSNR` or SSIM by more than `HARM_SSIM`, or if they are not numbers; else 0.
    """
    differences = {f"gain_{name}": estimate[name] - identity[name] for name in ("ssim", "si", "psnr")}
    unharmed = (differences["gain_psnr"] >= -HARM_PSNR) & (differences["gain_ssim"] >= -HARM_SSIM)
    return {**differences, HARM_RATE: 1 - unharmed.float()}


def matched_gains(estimate: Tensor, identity: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """What each image gains over its input after both are colour-matched to the truth.

    Args:
        estimate: (N, C, H, W), H, W >= 11; clipped to [0, 1] first, as the truth and the input are.
        identity: the input, of the same shape.
        truth: the same shape.

    Returns:
        "matched_gain_ssim" and "matched_gain_psnr" (dB), (N,) each.
    """
    truth = real(truth).clamp(0, 1)
    ours, theirs = (colour_match(real(image).clamp(0, 1), truth) for image in (estimate, identity))
    return {
        "matched_gain_ssim": ssim(ours, truth) - ssim(theirs, truth),
        "matched_gain_psnr": psnr(ours, truth) - psnr(theirs, truth),
    }


def colour_match(image: Tensor, truth: Tensor) -> Tensor:
    """The image with the gain and the offset of each channel that bring it nearest to the truth, clipped to [0, 1].

    Gain and offset are those of least squares over all pixels of a channel. A channel of one value becomes the mean of
    the truth.

    Args:
        image: (N, C, H, W).
        truth: the same shape.

    Returns:
        (N, C, H, W) in [0, 1].
    """
    image, truth = real(image), real(truth)
    places = (2, 3)
    # Differences from the mean, so that float32 is precise enough for the variance.
    centred = image - image.mean(places, keepdim=True)
    centre = truth.mean(places, keepdim=True)
    variance = centred.square().mean(places, keepdim=True)
    covariance = (centred * (truth - centre)).mean(places, keepdim=True)
    gain = covariance / variance.clamp(min=torch.finfo(variance.dtype).tiny)
    return (centre + gain * centred).clamp(0, 1)
