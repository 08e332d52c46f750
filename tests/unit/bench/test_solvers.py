"""What the suite of solvers measures with."""

from __future__ import annotations

import pytest
import torch

from crrn.bench.solvers import SolversSuite, mixture, separate_large
from crrn.errors import ConfigError


def test_mixtures_are_reproducible_photos() -> None:
    image = mixture(1, 24, 32)
    assert image.shape == (1, 3, 24, 32) and image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    torch.testing.assert_close(mixture(1, 24, 32), image, rtol=0, atol=0)
    assert not torch.equal(mixture(2, 24, 32), image)


def test_a_large_photo_is_measured() -> None:
    seconds, grown, pixels = separate_large("yl19", {}, 0.5, torch.get_num_threads())
    assert seconds > 0 and abs(pixels / 0.5e6 - 1) < 0.01
    assert grown >= 0


def test_refuses_an_unknown_method() -> None:
    with pytest.raises(ConfigError, match=r"'fy17'.*yl19"):
        SolversSuite(methods=["fy17"])
