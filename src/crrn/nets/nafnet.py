"""NAFNet (Chen et al., Simple Baselines for Image Restoration, ECCV 2022), with a head for each layer.

In prediction, its global pooling becomes local (Chu et al., Improving Image Restoration by Revisiting Global
Information Aggregation, ECCV 2022). Means are then taken over windows of about the size of the training crops, also in
a large photo or a tile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crrn.errors import ConfigError

LEVELS = 4
"""How often the size is halved."""

MOST_BLOCKS = 1000
"""In all; a file that asks for more is not built."""


class NAFNet(nn.Module):
    """From a mixture to its background and reflection: a U-Net of blocks without activation functions.

    1. conv 3x3,
    2. four levels of blocks, each followed by a convolution 2x2 of stride 2 to twice the channels,
    3. the middle blocks,
    4. four levels back by convolution 1x1 and pixel shuffle, added to the encoder's features,
    5. conv 3x3.

    Our choices: there are two heads instead of one, B = I - r and R. They start at zero, so that an untrained network
    is the identity.

    Args:
        channels: at full size; 32 is published, with 11.6 M parameters and 7.8 GMAC for 256x256.
        encoder, decoder: blocks of each of the four levels.
        middle: blocks at 1/16 of the size.
        pool: side of the window, in pixels of the mixture, over which a network in evaluation mode takes means. 384 is
            published for crops of 256. None: the whole image, as in training.

    Tiles: within ``pool`` / 2 pixels of a tile's border, the window of a mean is moved into the tile. Tiles that share
    384 pixels (the default) are blended at least 144 pixels from their borders. There a window is moved by up to 48 of
    its 384 pixels. The differences between tiles of 576 pixels and the whole image were measured at the published
    size, with random weights, in units of one of 256 levels (96x1024, 576x832 and 768x768). The second value is with
    ten times the weight of the means in the attention:

    - by default at most 0.01, or 0.2,
    - with ``overlap=768``, where no such window is moved, 0.0001, or 0.007,
    - with ``pool=None``, where each tile has its own mean, 0.2, or 2.8.

    A test measures again.

    Raises:
        ConfigError: a number is out of range.
    """

    multiple = 2**LEVELS
    builds_on_meta = True

    def __init__(
        self,
        channels: int = 32,
        encoder: Sequence[int] = (1, 1, 2, 4),
        middle: int = 4,
        decoder: Sequence[int] = (1, 1, 1, 1),
        pool: int | None = 384,
    ) -> None:
        super().__init__()
        _check(channels, encoder, middle, decoder, pool)
        windows = [None if pool is None else pool // 2**level for level in range(LEVELS + 1)]
        self.intro = nn.Conv2d(3, channels, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        for level, blocks in enumerate(encoder):
            self.encoders.append(nn.Sequential(*(NAFBlock(channels, windows[level]) for _ in range(blocks))))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle = nn.Sequential(*(NAFBlock(channels, windows[LEVELS]) for _ in range(middle)))
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        for level, blocks in zip(reversed(range(LEVELS)), decoder, strict=True):
            self.ups.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(channels, windows[level]) for _ in range(blocks))))
        self.background = nn.Conv2d(channels, 3, 3, padding=1)
        self.reflection = nn.Conv2d(channels, 3, 3, padding=1)
        for head in (self.background, self.reflection):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Background and reflection, (N, 3, H, W) each, unclipped, of a mixture of that shape; 16 divides its sides."""
        x = self.intro(mixture)
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            x = blocks(up(x) + skips.pop())
        return mixture - self.background(x).to(mixture.dtype), self.reflection(x)


class NAFBlock(nn.Module):
    """Two residual branches: convolutions with a gate and channel attention; then a gated pair of 1x1 convolutions.

    A gate is the product of one half of the channels with the other. Both branches are scaled by a factor for each
    channel that starts at zero.

    Args:
        channels: of input and output.
        window: side of the means of the attention in evaluation mode; None: the whole image.
    """

    def __init__(self, channels: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.expand1 = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)
        self.project1 = nn.Conv2d(channels, channels, 1)
        self.expand2 = nn.Conv2d(channels, 2 * channels, 1)
        self.project2 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        y = _gate(self.depthwise(self.expand1(self.norm1(x))))
        means = y.mean((-2, -1), keepdim=True) if self.training or self.window is None else local_mean(y, self.window)
        x = x + self.beta * self.project1(y * self.attention(means))
        return x + self.gamma * self.project2(_gate(self.expand2(self.norm2(x))))


class ChannelNorm(nn.Module):
    """Normalisation of each pixel over its channels, then a scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


def local_mean(x: Tensor, window: int) -> Tensor:
    """The mean of the window x window pixels around each pixel; at a border, of the nearest window inside the image.

    Args:
        x: (N, C, H, W).
        window: a positive number of pixels; a side that is not longer is taken whole.

    Returns:
        (N, C, H, W), or with size 1 along a side that is taken whole.
    """
    for dim in (-2, -1):
        size = x.shape[dim]
        if not torch.compiler.is_exporting() and size <= window:
            x = x.mean(dim, keepdim=True)
            continue
        # An exported graph is for all sizes, so it must not depend on whether this one is longer than the window.
        length = torch.sym_min(size, window)
        first = (torch.arange(size, device=x.device) - window // 2).clamp(min=0)
        first = torch.minimum(first, torch.full((), size - length, device=x.device))
        sums = F.pad(x.cumsum(dim), (1, 0) if dim == -1 else (0, 0, 1, 0))
        window_sums = sums.index_select(dim, first + length) - sums.index_select(dim, first)
        x = window_sums / torch.full((), length, device=x.device)
    return x


def _gate(x: Tensor) -> Tensor:
    one, other = x.chunk(2, dim=1)
    return one * other


def _check(channels: int, encoder: Sequence[int], middle: int, decoder: Sequence[int], pool: int | None) -> None:
    if not (isinstance(channels, int) and 1 <= channels <= 1024):
        raise ConfigError(f"net.channels={channels} is out of range: give a whole number from 1 to 1024.")
    for name, blocks in (("encoder", encoder), ("decoder", decoder)):
        if len(blocks) != LEVELS:
            raise ConfigError(f"net.{name}={blocks} is not a number of blocks for each of the {LEVELS} levels.")
    every = [*encoder, middle, *decoder]
    if not all(isinstance(blocks, int) and 0 <= blocks <= MOST_BLOCKS for blocks in every) or sum(every) > MOST_BLOCKS:
        raise ConfigError(
            f"net.encoder={list(encoder)}, net.middle={middle} and net.decoder={list(decoder)} must be whole numbers "
            f"of blocks, at most {MOST_BLOCKS} in all."
        )
    if pool is not None and not (isinstance(pool, int) and pool >= 2**LEVELS):
        raise ConfigError(
            f"net.pool={pool} is not a valid window: give {2**LEVELS} pixels or more, or null for the whole image."
        )
