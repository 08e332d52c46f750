"""A loss term of one's own: from an estimate and its target to a scalar."""

from torch import Tensor


def contrast(estimate: Tensor, target: Tensor) -> Tensor:
    """The mean difference of the channels' standard deviations, of images (N, C, H, W)."""
    return (estimate.std((2, 3), correction=0) - target.std((2, 3), correction=0)).abs().mean()
