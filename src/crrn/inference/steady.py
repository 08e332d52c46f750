"""Brightness that does not flicker from frame to frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CUT = 0.1
"""Mean difference of two frames, at 16x16 pixels, from which on they are of two scenes."""


class SteadyBrightness:
    """Smooths over time what a remover does to a video's brightness and contrast.

    Removers see one frame at a time. Their effect on the overall brightness may jump although the scene hardly changes.
    For each channel let d = mean(I) - mean(B) be the light that is removed, and r = std(B) / std(I) the contrast that
    is left. d' and r' are exponential means of d and r over time. They start anew at a cut. The background becomes

        B' = (B - mean(B)) r' / r + mean(I) - d'.

    Only changes by the remover are smoothed. Changes of the camera's exposure are visible in I and pass at once. This
    is our choice.

    Args:
        seconds: time constant of the means.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds = seconds
        self._state: tuple[Tensor, Tensor] | None = None
        self._small: Tensor | None = None

    def __call__(self, mixture: Tensor, background: Tensor, elapsed: float) -> Tensor:
        """The next frame's background.

        Args:
            mixture, background: (1, 3, H, W) in [0, 1].
            elapsed: seconds since the frame before.

        Returns:
            (1, 3, H, W) in [0, 1].
        """
        deviation, mean = torch.std_mean(background, dim=(2, 3), correction=0, keepdim=True)
        own_deviation, own_mean = torch.std_mean(mixture, dim=(2, 3), correction=0, keepdim=True)
        taken = own_mean - mean
        contrast = (deviation + 1e-3) / (own_deviation + 1e-3)  # flat frames have none
        small = F.adaptive_avg_pool2d(mixture, 16)
        cut = self._small is None or bool((small - self._small).abs().mean() > CUT)
        self._small = small
        if self._state is None or cut:
            self._state = (taken, contrast)
        else:
            weight = 1 - math.exp(-max(elapsed, 0) / self.seconds)
            old_taken, old_contrast = self._state
            self._state = (old_taken.lerp(taken, weight), old_contrast.lerp(contrast, weight))
        taken, smooth = self._state
        return ((background - mean) * (smooth / contrast) + (own_mean - taken)).clamp_(0, 1)
