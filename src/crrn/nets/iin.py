"""IiN, the image inference network (paper Sec. 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crrn.image.padding import crop, pad_to_multiple
from crrn.layers import Layers
from crrn.nets.blocks import Branches, conv, initialise, scaled, upsample
from crrn.nets.gin import FEATURES, MULTIPLE
from crrn.nets.network import Network, bytes_by_width
from crrn.nets.vgg import VGG16

FEATURE_A = (((1, 96), (7, 192)), ((3, 192),), ((1, 256), (3, 256), (3, 192)))
FEATURE_B = (((1, 128), (7, 192)), ((1, 128), (3, 192)), ((1, 128), (3, 128)), ((1, 128), (3, 128), (3, 128)))
"""Branches of (kernel, channels): Inception-ResNet-v2's reductions, stride 1, pooling replaced by 1x1, 7x7 (paper)."""

PARALLEL = 3
UPSAMPLING = (256, 128, 64, 32, 16)
"""Channels of each of the three parallel transposed convolutions of the five levels."""


class IiN(Network):
    """From a mixture to its background and reflection.

    1. VGG16, to 1/32 of the size. One conv 3x3 replaces its fully connected layers.
    2. Feature extraction A.
    3. Five levels of three parallel transposed convolutions, back to the full size. Each level is concatenated with the
       VGG16 feature and the GiN feature of equal resolution. Feature extraction B is at 1/8.
    4. A head. Its first three channels r give the background by residual learning, B = I - r (paper). The other three
       are the reflection (our choice). Its last convolution starts at zero, so that an untrained network is the
       identity (our choice).

    Args:
        width: factor of every channel count; 1.0 is the paper's network, 39.9 M parameters with gradient features.
        encoder_width: the factor for the VGG16 encoder alone; None: `width`.
        gradient_features: whether `forward` gets GiN's five decoder features and concatenates them. False is the
            ablation "IiN only", whose concatenations are smaller by GiN's widths.

    Raises:
        ConfigError: a width is not positive.
    """

    estimates = ("background", "reflection")

    def __init__(
        self,
        width: float = 1.0,
        encoder_width: float | None = None,
        gradient_features: bool = False,
    ) -> None:
        super().__init__()
        ups = [PARALLEL * scaled(channels, width) for channels in UPSAMPLING]
        encoder_width = width if encoder_width is None else encoder_width
        self.gradient_features = gradient_features
        self.encoder = VGG16(encoder_width)
        taps = self.encoder.channels
        guides = [scaled(channels, width) if gradient_features else 0 for channels in FEATURES]
        skips = [tap + guide for tap, guide in zip((*taps[-2::-1], 0), guides, strict=True)]

        self.bottleneck = conv(taps[-1], scaled(256, width), 3)
        self.feature_a = _feature(scaled(256, width), FEATURE_A, width)
        self.feature_b = _feature(ups[1] + skips[1], FEATURE_B, width)
        inputs = (
            self.feature_a.channels,
            ups[0] + skips[0],
            self.feature_b.channels,
            ups[2] + skips[2],
            ups[3] + skips[3],
        )
        self.upsampling = nn.ModuleList(upsample(*channels) for channels in zip(inputs, ups, strict=True))
        self.head = nn.Sequential(
            conv(ups[4] + skips[4], scaled(32, width), 3),
            nn.Conv2d(scaled(32, width), 6, 3, padding=1),
        )
        for module in (self.bottleneck, self.feature_a, self.feature_b, self.upsampling, self.head):
            initialise(module)
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)
        self.widths = float(width), float(encoder_width)
        self._set_record(IiN, width=self.widths[0], encoder_width=self.widths[1], gradient_features=gradient_features)

    @property
    def bytes_per_pixel(self) -> float:
        """Of memory, see :mod:`crrn.nets.network`."""
        return bytes_by_width(*self.widths)

    def forward(self, mixture: Tensor, gradient_features: Sequence[Tensor] | None = None) -> Layers:
        """Estimate background and reflection.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.
            gradient_features: GiN's decoder features of the padded mixture, coarse to fine; given exactly when the
                network was built with them.

        Returns:
            Layers with `background` and `reflection`, (N, 3, H, W), unclipped, of the mixture's dtype.

        Raises:
            ValueError: gradient features are given to a network built without them, or missing in one built with them.
        """
        height, width = mixture.shape[-2:]
        layers = self.infer(pad_to_multiple(mixture, MULTIPLE), gradient_features)
        return Layers(*(crop(layer, height, width) for layer in layers))

    def infer(self, mixture: Tensor, gradient_features: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Background and reflection of a mixture with sides that 32 divides; arguments and errors as of `forward`."""
        if (gradient_features is not None) != self.gradient_features:
            raise ValueError(f"this IiN was built with gradient_features={self.gradient_features}")
        taps = self.encoder(mixture)
        skips = [[tap] for tap in taps[-2::-1]] + [[]]
        for skip, feature in zip(skips, gradient_features or (), strict=False):
            skip.append(feature)

        x = self.feature_a(self.bottleneck(taps[-1]))
        for level, (up, skip) in enumerate(zip(self.upsampling, skips, strict=True)):
            if level == 2:
                x = self.feature_b(x)
            x = torch.cat((up(x), *skip), dim=1)
        residual, reflection = self.head(x).to(mixture.dtype).split(3, dim=1)
        return mixture - residual, reflection


def _feature(channels_in: int, branches: Sequence[Sequence[tuple[int, int]]], width: float) -> Branches:
    return Branches(
        channels_in, [[(kernel, scaled(channels, width)) for kernel, channels in blocks] for blocks in branches]
    )
