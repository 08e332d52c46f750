"""The shape of a mixture."""

from __future__ import annotations

from torch import Tensor

from crrn.errors import DataError


def check_shape(mixture: Tensor) -> None:
    """DataError unless the tensor is (N, 3, H, W) with H, W >= 1."""
    if mixture.ndim != 4 or mixture.shape[1] != 3 or 0 in mixture.shape[2:]:
        raise DataError(
            f"a mixture of shape {tuple(mixture.shape)} cannot be separated: give (N, 3, H, W); repeat a grey image's "
            "channel three times"
        )
