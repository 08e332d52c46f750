"""What needs a CUDA device is skipped where there is none; the same code is rehearsed on the CPU where it can be."""

from __future__ import annotations

import pytest
import torch

from tests.integration.conftest import command, train

__all__ = ["command", "train"]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, as a rehearsal, and the GPU."""
    return torch.device(request.param)
