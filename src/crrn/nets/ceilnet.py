"""FY17: CEILNet, two equal networks for edges and image (Fan et al., ICCV 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crrn.image.padding import crop, pad_to_multiple
from crrn.layers import Layers, Remover
from crrn.nets.blocks import initialise, scaled

RESIDUAL_BLOCKS = 13
CHANNELS = 64


def edge_map(image: Tensor) -> Tensor:
    """E = sum over channels, x and y of (|d+| + |d-|) / 2, the forward and the backward difference.

    Beyond the border the image goes on with its border pixel (our choice), so that the difference there is 0.

    Args:
        image: (N, C, H, W), any H, W >= 1, floating point.

    Returns:
        (N, 1, H, W), >= 0, at most 2 C for an image in [0, 1]. Differentiable almost everywhere.
    """
    along_x = F.pad(image.diff(dim=-1).abs(), (1, 1))
    along_y = F.pad(image.diff(dim=-2).abs(), (0, 0, 1, 1))
    both = along_x[..., 1:] + along_x[..., :-1] + along_y[..., 1:, :] + along_y[..., :-1, :]
    return both.sum(1, keepdim=True) / 2


class CEILNetwork(nn.Module):
    """The network that E-CNN and I-CNN both are: 32 layers, all at 64 channels.

    conv 3x3, conv 3x3, conv 3x3 stride 2; 13 residual blocks (conv, BN, ReLU, conv, BN, sum, ReLU); transposed conv
    4x4 stride 2, conv 3x3, conv 1x1. BatchNorm and ReLU follow every convolution before and after the blocks but the
    last (our choice: the published table names only the convolutions there). The last has a bias and nothing after it.

    Args:
        channels_in, channels_out: of the input and the output.
        width: factor of the 64 channels; 1.0 is published.

    Raises:
        ConfigError: the width is not positive.
    """

    def __init__(self, channels_in: int, channels_out: int, width: float = 1.0) -> None:
        super().__init__()
        channels = scaled(CHANNELS, width)
        self.encoder = nn.Sequential(
            *_unit(nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)),
            *_unit(nn.Conv2d(channels, channels, 3, padding=1, bias=False)),
            *_unit(nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(RESIDUAL_BLOCKS)))
        self.decoder = nn.Sequential(
            *_unit(nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)),
            *_unit(nn.Conv2d(channels, channels, 3, padding=1, bias=False)),
            nn.Conv2d(channels, channels_out, 1),
        )
        initialise(self)

    def infer(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H, W), any H, W >= 1; an odd side is reflect-padded inside."""
        height, width = x.shape[-2:]
        result: Tensor = self.decoder(self.blocks(self.encoder(pad_to_multiple(x, 2))))
        return crop(result, height, width)


class ResidualBlock(nn.Module):
    """conv 3x3, BN, ReLU, conv 3x3, BN on top of the input, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_unit(nn.Conv2d(channels, channels, 3, padding=1, bias=False)),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return F.relu(x + self.branch(x))


class EdgeNet(CEILNetwork):
    """E-CNN: from a mixture and its edges to the edges of the background.

    Args:
        width: see `CEILNetwork`.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(4, 1, width)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 1, H, W), an estimate of `edge_map` of the background, unclipped."""
        return self.infer(torch.cat((mixture, edge_map(mixture)), dim=1)).to(mixture.dtype)


class ImageNet(CEILNetwork):
    """I-CNN: from a mixture and the edges of its background to the background. (Not the data set.)

    Args:
        width: see `CEILNetwork`.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(4, 3, width)

    def forward(self, mixture: Tensor, edges: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] and (N, 1, H, W) -> the background, (N, 3, H, W), unclipped."""
        return self.infer(torch.cat((mixture, edges), dim=1)).to(mixture.dtype)


class CEILNet(Remover):
    """The cascade: E-CNN gives the background's edges, I-CNN the background; the reflection is I - B.

    Published training has three phases, 40 epochs for each network, I-CNN with the true background's edges, then both
    joined: `edge_net` alone with `edge_loss`, `image_net` alone with `image_loss`, both with `joint_loss`.

    Args:
        width: factor of the 64 channels; 1.0 is published.

    Raises:
        ConfigError: the width is not positive.
    """

    estimates = ("background", "reflection")

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.config = {"architecture": "ceilnet", "width": float(width)}
        self.edge_net = EdgeNet(width)
        self.image_net = ImageNet(width)

    def forward(self, mixture: Tensor) -> Layers:
        """Estimate background and reflection.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.

        Returns:
            Layers with `background` and `reflection`, (N, 3, H, W), unclipped, of the mixture's dtype. The edges are
            not the Sobel magnitude that `Layers.gradient` means; `infer` gives them.
        """
        background, _ = self.infer(mixture)
        return Layers(background, mixture - background)

    def infer(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """The background (N, 3, H, W) and its edges (N, 1, H, W), both unclipped; nothing is detached between."""
        edges = self.edge_net(mixture)
        return self.image_net(mixture, edges), edges


def edge_loss(edges: Tensor, background: Tensor) -> Tensor:
    """E-CNN's loss: mean squared error of estimated edges (N, 1, H, W) to `edge_map` of the background (N, 3, H, W)."""
    return F.mse_loss(edges, edge_map(background))


def image_loss(estimate: Tensor, background: Tensor) -> Tensor:
    """I-CNN's loss: 0.2 MSE + 0.4 mean |difference of x derivatives| + 0.4 the same along y.

    Both are (N, 3, H, W); the derivatives are forward differences inside the image, 0 for a side of one pixel.
    """
    error = estimate - background
    loss = 0.2 * error.square().mean()
    for dim in (-1, -2):
        if error.shape[dim] > 1:
            loss = loss + 0.4 * error.diff(dim=dim).abs().mean()
    return loss


def joint_loss(estimate: Tensor, edges: Tensor, background: Tensor) -> Tensor:
    """The loss of both networks: 0.4 `edge_loss` + `image_loss`."""
    return 0.4 * edge_loss(edges, background) + image_loss(estimate, background)


def _unit(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)
