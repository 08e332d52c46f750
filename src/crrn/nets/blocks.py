"""The blocks that GiN and IiN are built of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crrn.errors import ConfigError


def scaled(channels: int, width: float, setting: str = "net.width") -> int:
    """A channel count times a width, rounded, at least 1; ConfigError where the width, of that setting, is not
    positive.
    """
    if not (width > 0 and math.isfinite(width)):
        raise ConfigError(f"{setting}={width} is not a width: give a positive number, 1.0 for the paper's network")
    return max(1, round(channels * width))


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU; H x W -> H/stride x W/stride (kernel 4 with stride 2, else odd)."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return _normalised(layer, channels_out)


def upsample(channels_in: int, channels_out: int) -> nn.Sequential:
    """Transposed convolution 4x4, stride 2, without bias, BatchNorm, ReLU; H x W -> 2H x 2W.

    k parallel transposed convolutions of one input are one with k times the output channels: the same function, faster.
    """
    layer = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
    return _normalised(layer, channels_out)


class ToOneChannel(nn.Conv2d):
    """A convolution of odd kernel to one channel, with a bias; stride 1, the size is kept.

    Args:
        channels_in: channels of the input.
        kernel: side of the kernel.
    """

    bias: Tensor

    def __init__(self, channels_in: int, kernel: int) -> None:
        super().__init__(channels_in, 1, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 1, H, W)."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        # Processors fill their registers with output channels, of which there is one. So the kernel's columns become
        # channels, each correlated along H alone, and their results are shifted along W and added.
        width, border = x.shape[-1], self.kernel_size[1] // 2
        columns = F.conv2d(x, self.weight[0].permute(2, 0, 1).unsqueeze(-1), padding=(border, 0))
        columns = F.pad(columns.to(self.bias.dtype), (border, border))
        result = self.bias.view(1, 1, 1, 1)
        for shift, column in enumerate(columns.split(1, dim=1)):
            result = result + column[..., shift : shift + width]
        return result


class Branches(nn.Module):
    """Parallel chains of `conv` blocks on one input, concatenated, as in Inception-ResNet's reductions at stride 1.

    Args:
        channels_in: channels of the input.
        branches: for each branch its blocks as (kernel, output channels).

    Attributes:
        channels: output channels, the sum over the branches' ends.
    """

    def __init__(self, channels_in: int, branches: Sequence[Sequence[tuple[int, int]]]) -> None:
        super().__init__()
        self.channels = sum(blocks[-1][1] for blocks in branches)
        self.branches = nn.ModuleList(self._chain(channels_in, blocks) for blocks in branches)

    @staticmethod
    def _chain(channels: int, blocks: Sequence[tuple[int, int]]) -> nn.Sequential:
        chain = nn.Sequential()
        for kernel, channels_out in blocks:
            chain.append(conv(channels, channels_out, kernel))
            channels = channels_out
        return chain

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def initialise(module: nn.Module) -> None:
    """Kaiming normal weights for ReLU and zero bias for every convolution in `module` (our choice)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # A transposed weight is (in, out, k, k): seen as (out, in, k, k), torch reads its fan in from it.
            weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _normalised(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
