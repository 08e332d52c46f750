"""A remover without training: an `nn.Module` without weights."""

from torch import Tensor, nn


class Dehaze(nn.Module):
    """Subtracts a share of the darkest value of each channel.

    Args:
        share: in [0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share

    def forward(self, mixture: Tensor) -> Tensor:
        """From a mixture (N, 3, H, W) in [0, 1] to its background."""
        return mixture - self.share * mixture.amin((2, 3), keepdim=True)
