"""FY17: CEILNet, two equal networks for edges and image (Fan et al., ICCV 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crrn.image.padding import crop, pad_to_multiple
from crrn.image.shape import check_shape
from crrn.layers import Layers
from crrn.nets.blocks import initialise, scaled
from crrn.nets.network import Network, bytes_by_width

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


class Cascaded(Network):
    """The network that E-CNN and I-CNN both are: 32 layers, all at 64 channels; its gradients are `edge_map`s.

    conv 3x3, conv 3x3, conv 3x3 stride 2; 13 residual blocks (conv, BN, ReLU, conv, BN, sum, ReLU); transposed conv
    4x4 stride 2, conv 3x3, conv 1x1. BatchNorm and ReLU follow every convolution before and after the blocks but the
    last (our choice: the published table names only the convolutions there). The last has a bias and nothing after it.

    Args:
        channels_in, channels_out: of the input and the output.
        width: factor of the 64 channels; 1.0 is published.

    Raises:
        ConfigError: the width is not positive.
    """

    gradient_of = staticmethod(edge_map)

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
        self.width = float(width)

    @property
    def bytes_per_pixel(self) -> float:
        """Of memory, see :mod:`crrn.nets.network`."""
        return bytes_by_width(self.width)

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


class EdgeNet(Cascaded):
    """E-CNN: from a mixture and its edges to the edges of the background.

    Args:
        width: see `Cascaded`.
    """

    estimates = ("gradient",)
    monitor = "val/gradient_psnr"

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(4, 1, width)
        self._set_record(EdgeNet, width=float(width))

    def stages(self) -> dict[str, nn.Module]:
        """Its own."""
        return {"edges": self}

    def forward(self, mixture: Tensor) -> Layers:
        """Estimate the background's edges.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.

        Returns:
            Layers with `gradient`, (N, 1, H, W), an estimate of `edge_map` of the background, unclipped, of the
            mixture's dtype.

        Raises:
            DataError: the mixture has another shape.
        """
        check_shape(mixture)
        return Layers(gradient=self.infer(torch.cat((mixture, edge_map(mixture)), dim=1)).to(mixture.dtype))


class ImageNet(Cascaded):
    """I-CNN: from a mixture and the edges of its background to the background. (Not the data set.)

    Args:
        width: see `Cascaded`.
    """

    estimates = ("background", "reflection")

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(4, 3, width)
        self._set_record(ImageNet, width=float(width))

    def stages(self) -> dict[str, nn.Module]:
        """Its own."""
        return {"image": self}

    def forward(self, mixture: Tensor, edges: Tensor | None = None) -> Layers:
        """Estimate background and reflection, I - B.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.
            edges: of the background, (N, 1, H, W); None takes the mixture's, as if there were no reflection in them.

        Returns:
            Layers with `background` and `reflection`, unclipped, of the mixture's dtype.

        Raises:
            DataError: the mixture has another shape.
        """
        check_shape(mixture)
        edges = edge_map(mixture) if edges is None else edges
        background = self.infer(torch.cat((mixture, edges), dim=1)).to(mixture.dtype)
        return Layers(background, mixture - background)

    def training_forward(self, mixture: Tensor, background: Tensor) -> Layers:
        """The estimate given the edges of the true background."""
        return self(mixture, edge_map(background))


class CEILNet(Network):
    """The cascade: E-CNN gives the background's edges, I-CNN the background; the reflection is I - B.

    Published training has three phases, 40 epochs for each network, I-CNN with the true background's edges, then both
    joined. Their losses, as weights of `crrn.losses.ReconstructionLoss`, the edges in the place of the gradient:

    - edges: gradient={"mse": 1}
    - image: background={"mse": 0.2, "derivative_l1": 0.4}
    - joint: both, the edges by 0.4

    Args:
        width: factor of the 64 channels; 1.0 is published.

    Raises:
        ConfigError: the width is not positive.
    """

    estimates = Layers._fields

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.edge_net = EdgeNet(width)
        self.image_net = ImageNet(width)
        self._set_record(CEILNet, width=float(width))

    @property
    def bytes_per_pixel(self) -> float:
        """Of memory, see :mod:`crrn.nets.network`."""
        return self.edge_net.bytes_per_pixel

    def stages(self) -> dict[str, nn.Module]:
        """Each network alone, then both."""
        return {"edges": self.edge_net, "image": self.image_net, "joint": self}

    gradient_of = staticmethod(edge_map)

    def forward(self, mixture: Tensor) -> Layers:
        """Estimate all three layers; nothing is detached between the networks.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1.

        Returns:
            Layers of the mixture's size and dtype, unclipped; `gradient` is an `edge_map`.
        """
        edges = self.edge_net(mixture).gradient
        return self.image_net(mixture, edges)._replace(gradient=edges)


def _unit(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)
