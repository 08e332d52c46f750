"""A network of one's own: any `nn.Module` that returns the background."""

import torch
from torch import Tensor, nn


class TinyUNet(nn.Module):
    """One level down, one level up.

    Args:
        channels: of its convolutions.
    """

    multiple = 2  # its sides are halved once: crrn pads and crops

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * channels, 3, 4, stride=2, padding=1)
        nn.init.normal_(self.up.weight, std=0.01)

    def forward(self, mixture: Tensor) -> Tensor:
        """From a mixture (N, 3, H, W) in [0, 1] to its background."""
        down = self.down(mixture)
        return mixture - self.up(torch.cat((down, self.middle(down)), dim=1))
