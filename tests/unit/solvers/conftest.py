"""Images for the solvers."""

import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture
def golden() -> Tensor:
    """The image of the golden values, (1, 3, 24, 32), float64."""
    y, x, c = np.mgrid[:24, :32, :3].astype(float)
    image = 0.5 + 0.2 * np.sin(0.37 * x + 0.11 * (c + 1) * y) * np.cos(0.23 * y) + 0.15 * (x >= 12) - 0.1 * (y >= 15)
    assert abs(image.mean() - 0.557571307258) < 1e-12
    assert abs((image**2).sum() - 751.956037748344) < 1e-9
    return torch.from_numpy(image.transpose(2, 0, 1))[None]
