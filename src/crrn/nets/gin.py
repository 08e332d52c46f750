"""GiN, the gradient inference network (paper Sec. 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError
from crrn.image.gradient import gradient_magnitude
from crrn.image.padding import crop, pad_to_multiple
from crrn.layers import Layers
from crrn.nets.blocks import ToOneChannel, conv, initialise, scaled, upsample
from crrn.nets.network import Network, bytes_by_width

MULTIPLE = 32
"""Image sides are padded to a multiple of this: both networks halve them five times."""

ENCODER = (64, 128, 256, 512, 512)
DECODER = ((256, 256), (128, 128), (64, 64), (32, 32), (64, 64))

FEATURES = tuple(channels_up for _, channels_up in DECODER)
"""Channels, at width 1, of the five decoder features that IiN takes over: at 1/16, 1/8, 1/4, 1/2 and 1 of the size."""

HEADS = ("additive", "sigmoid")


class GiN(Network):
    """From a mixture to the gradient of its background.

    The input is the mixture with its own gradient as fourth channel (paper). Then:

    - five encoder stages of conv 3x3 and conv 4x4 stride 2, to 1/32 of the size,
    - five decoder stages of conv 3x3 and transposed conv 4x4 stride 2, back to the full size; the first four encoder
      features are concatenated at equal resolution,
    - a head with conv 5x5.

    BatchNorm and ReLU follow every convolution but the last. Our choices: the 3x3 bridge, the Kaiming initialisation,
    reflect-padding to a multiple of 32.

    The default head is our choice, too. It adds a correction to the mixture's own gradient magnitude. The correction
    starts at zero, so that an untrained GiN returns the gradient of its input, as an untrained IiN returns its input.
    The sum is not clipped: a sigmoid or a clip has no derivative where an edge of the input is 0 or 1. The paper's
    head is a sigmoid. Its random start is worse than the input's own gradient.

    Args:
        width: factor of every channel count; 1.0 is the paper's network, 19.9 M parameters.
        head: "additive" (the gradient of the mixture plus a correction) or "sigmoid" (the paper's).

    Raises:
        ConfigError: the width is not positive, or the head is unknown.
    """

    estimates = ("gradient",)
    monitor = "val/gradient_si"

    def __init__(self, width: float = 1.0, head: str = "additive") -> None:
        super().__init__()
        if head not in HEADS:
            raise ConfigError(f"net.head={head} is unknown: choose one of {', '.join(HEADS)}")
        self.head = head
        widths = [scaled(channels, width) for channels in ENCODER]
        self.encoder = nn.ModuleList()
        channels = 4
        for channels_out in widths:
            self.encoder.append(
                nn.Sequential(conv(channels, channels_out, 3), conv(channels_out, channels_out, 4, stride=2))
            )
            channels = channels_out
        self.bridge = conv(channels, channels, 3)
        self.decoder = nn.ModuleList()
        for (channels_conv, channels_up), skip in zip(DECODER, (0, *reversed(widths[:-1])), strict=True):
            narrow, up = scaled(channels_conv, width), scaled(channels_up, width)
            self.decoder.append(nn.Sequential(conv(channels + skip, narrow, 3), upsample(narrow, up)))
            channels = up
        self.output = ToOneChannel(channels, 5)
        initialise(self)
        if head == "additive":
            nn.init.zeros_(self.output.weight)
        self.width = float(width)
        self._set_record(GiN, width=self.width, head=head)

    @property
    def bytes_per_pixel(self) -> float:
        """Of memory, see :mod:`crrn.nets.network`."""
        return bytes_by_width(self.width)

    def stages(self) -> dict[str, nn.Module]:
        """Its own."""
        return {"gin": self}

    def forward(self, mixture: Tensor) -> Layers:
        """Estimate the background's gradient.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.

        Returns:
            Layers with `gradient` (N, 1, H, W) of the mixture's dtype: with the sigmoid head in [0, 1], with the
            additive head unclipped.
        """
        height, width = mixture.shape[-2:]
        output, _ = self.infer(pad_to_multiple(mixture, MULTIPLE))
        return Layers(gradient=self.finish(crop(output, height, width), mixture))

    def infer(self, mixture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `finish` makes the gradient of, (N, 1, H, W), and the five decoder features, coarse to fine; 32 divides
        the mixture's sides.
        """
        x = torch.cat((mixture, gradient_magnitude(mixture)), dim=1)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = self.bridge(skips.pop())
        features = []
        for level, stage in enumerate(self.decoder):
            x = stage(torch.cat((x, skips.pop()), dim=1) if level else x)
            features.append(x)
        return self.output(x), features

    def finish(self, output: Tensor, mixture: Tensor) -> Tensor:
        """The gradient (N, 1, H, W) from the last convolution's output and the mixture, both of one size."""
        # In the mixture's precision: autocast's bfloat16 would leave steps of 1/256 in a target of fine edges.
        output = output.to(mixture.dtype)
        return torch.sigmoid(output) if self.head == "sigmoid" else gradient_magnitude(mixture) + output
