"""Between tensors in [0, 1] and 8-bit pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]
"""An 8-bit picture: (H, W, 3), RGB."""


def to_picture(image: Tensor) -> Image.Image:
    """A picture from (1 or 3, H, W), clipped to [0, 1] and rounded to 8 bits."""
    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array))


def to_tensor(photo: Pixels) -> Tensor:
    """A batch of one, (1, 3, H, W) float32 in [0, 1], from 8-bit (H, W, 3)."""
    return torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
