"""A metric of one's own for a protocol: it says its name and which way is better."""

from torch import Tensor


class Tint:
    """The largest difference of the channels' means, in levels of 8 bits."""

    name = "tint"
    label = "Tint"
    unit = "levels"
    digits = 1
    higher_is_better = False

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Of images (N, 3, H, W) in [0, 1], (N,)."""
        return 255 * (estimate.mean((2, 3)) - target.mean((2, 3))).abs().amax(1)
