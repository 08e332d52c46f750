"""The VGG16 encoder of IiN and its ImageNet weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import make_layers

from crrn.errors import WeightsError
from crrn.nets.blocks import initialise, scaled

CHANNELS = (64, 128, 256, 512, 512)
"""Channels, at width 1, of the five stages."""

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""3x3 convolutions in each stage; a 2x2 maximum pool ends it."""

log = logging.getLogger("crrn")


class VGG16(nn.Module):
    """The 13 convolutions and 5 pools of VGG16, ImageNet normalisation inside, tapped after each pool.

    Its weights are random (Kaiming normal); `crrn.nets.initial` loads those of ImageNet.

    Args:
        width: factor of every channel count.

    Attributes:
        channels: channels of the five taps.

    Raises:
        ConfigError: the width is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.channels = [scaled(channels, width, "net.encoder_width") for channels in CHANNELS]
        plan: list[str | int] = []
        for channels, convolutions in zip(self.channels, CONVOLUTIONS, strict=True):
            plan += [channels] * convolutions + ["M"]
        self.features = make_layers(plan)
        # Saved with the weights, so that a network built on the meta device gets them from its file.
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1))
        initialise(self.features)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The five taps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size, of an image (N, 3, H, W) in [0, 1]."""
        x = (image - self.mean) / self.std
        taps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
        return taps

    def named_as_here(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of torchvision's VGG16, whole or its features only, in the names of this class; others as they
        are.
        """
        if "0.weight" in state:
            state = {f"features.{name}": value for name, value in state.items()}
        if "features.0.weight" not in state:
            return dict(state)
        kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        return {"mean": self.mean, "std": self.std, **kept}


def imagenet_file() -> Path:
    """torchvision's VGG16_Weights.IMAGENET1K_V1 in torch's download folder; downloaded where absent, its hash checked.

    Raises:
        WeightsError: it cannot be downloaded.
    """
    url: str = VGG16_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        digest = path.stem.rpartition("-")[2]  # the first digits of the file's SHA-256
        log.info("downloading %s to %s", url, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)
        except Exception as error:  # a socket, a proxy, a full disk, a wrong hash: the ways out are the same
            raise WeightsError(
                f"the ImageNet weights of VGG16 could not be downloaded ({error}): try again with a connection, or "
                f"download {url} elsewhere and set init={{iin.encoder: PATH}}, or set init=null for a random encoder"
            ) from error
    return path
