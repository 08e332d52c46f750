"""The VGG16 encoder of IiN and its ImageNet weights."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import make_layers

from crrn.errors import WeightsError
from crrn.nets.blocks import initialise, scaled
from crrn.nets.state import mismatches

CHANNELS = (64, 128, 256, 512, 512)
"""Channels, at width 1, of the five stages."""

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""3x3 convolutions in each stage; a 2x2 maximum pool ends it."""

WAYS_OUT = (
    "try again with a connection, or download {url} elsewhere and set net.encoder_weights=PATH, "
    "or set net.encoder_weights=null to train from a random encoder"
)

log = logging.getLogger("crrn")


class VGG16(nn.Module):
    """The 13 convolutions and 5 pools of VGG16, ImageNet normalisation inside, tapped after each pool.

    Args:
        width: factor of every channel count.
        weights: "imagenet" for torchvision's VGG16_Weights.IMAGENET1K_V1 (downloaded once, its hash checked); a path
            to the same weights as .pth or .safetensors, the whole VGG16 or its features only; None for Kaiming normal
            weights, with a warning in the log. On the meta device nothing is loaded: a checkpoint fills it.

    Attributes:
        channels: channels of the five taps.

    Raises:
        WeightsError: the weights cannot be had, do not fit, or are asked for at a width other than 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: float = 1.0, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.channels = [scaled(channels, width) for channels in CHANNELS]
        plan: list[str | int] = []
        for channels, convolutions in zip(self.channels, CONVOLUTIONS, strict=True):
            plan += [channels] * convolutions + ["M"]
        self.features = make_layers(plan)
        # Saved with the weights, so that a network built on the meta device gets them from its file.
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1))
        initialise(self.features)
        if not self.mean.is_meta:
            self._load(weights, width)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The five taps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size, of an image (N, 3, H, W) in [0, 1]."""
        x = (image - self.mean) / self.std
        taps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
        return taps

    def _load(self, weights: str | os.PathLike[str] | None, width: float) -> None:
        if weights is None:
            log.warning(
                "the VGG16 encoder starts from random weights (net.encoder_weights=imagenet gives the pretrained ones)"
            )
            return
        if width != 1:
            raise WeightsError(
                f"net.encoder_weights={weights} fits net.width=1 only, not {width}: "
                "set net.encoder_weights=null or net.width=1"
            )
        path = _imagenet() if weights == "imagenet" else Path(weights)
        state = {
            name.removeprefix("features."): value
            for name, value in _read(path).items()
            if not name.startswith("classifier.")
        }
        wrong = mismatches(self.features.state_dict(), state)
        if wrong:
            raise WeightsError(
                f"{path} does not hold the weights of VGG16: "
                f"{len(wrong)} weights differ in name or shape, {wrong[0]!r} first; "
                + WAYS_OUT.format(url=VGG16_Weights.IMAGENET1K_V1.url)
            )
        self.features.load_state_dict(state)


def _imagenet() -> Path:
    """Torchvision's file in torch's download folder, downloaded when absent."""
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
                f"the ImageNet weights of VGG16 could not be downloaded ({error}): {WAYS_OUT.format(url=url)}"
            ) from error
    return path


def _read(path: Path) -> dict[str, Tensor]:
    ways_out = WAYS_OUT.format(url=VGG16_Weights.IMAGENET1K_V1.url)
    if not path.is_file():
        raise WeightsError(f"the encoder weights {path} are missing: {ways_out}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): value for name, value in state.items()}
    except Exception as error:  # a torn or foreign file can fail anywhere in either reader
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}): remove it if it is a torn download; {ways_out}"
        ) from error
