"""How the field's training code makes a mixture, sample by sample in the loader's workers.

Written from the published formulas (CEILNet's formation, Fan et al., ICCV 2017) in the way that the field's projects
share: PIL decodes and resizes each photo, every channel is blurred by a two-dimensional convolution in SciPy, all in
NumPy on one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crrn.image.picture import Pixels


def read(file: Path, size: tuple[int, int]) -> Pixels:
    """One photo, uint8 (height, width, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC))


def batch(samples: Sequence[tuple[NDArray[np.float32], ...]]) -> tuple[Tensor, ...]:
    """Stacks samples to (N, 3, H, W) tensors, each sample transposed first."""
    tensors = [[torch.from_numpy(layer.transpose(2, 0, 1).copy()) for layer in sample] for sample in samples]
    return tuple(torch.stack(layers) for layers in zip(*tensors, strict=True))
