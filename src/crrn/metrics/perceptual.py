"""LPIPS and DISTS from torchmetrics, with the weights of their backbones taken from a file that the user names.

torchmetrics ships the small calibration weights of both; the ImageNet backbones it would download. Nothing is
downloaded here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from crrn.errors import WeightsError
from crrn.private import dists_network, lpips_network

ADDRESSES = {
    "alex": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "vgg": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "squeeze": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
}
"""Where torchvision's ImageNet weights of each backbone are had."""


class Lpips(nn.Module):
    """LPIPS (Zhang 2018, v0.1) of each image: lower is more alike. `crrn.metrics.ImageMean(Lpips(...))` is the Metric.

    `forward(x, y)` takes (N, 3, H, W) in [0, 1], H, W >= 64 (our choice; AlexNet needs 63), and returns (N,).

    Args:
        weights: torchvision's ImageNet weights of the backbone (.pth, the whole network or its features; or
            .safetensors).
        backbone: "alex", "vgg" or "squeeze"; a number without it means nothing.

    Raises:
        WeightsError: the file is missing or holds other weights.
    """

    def __init__(self, weights: Path | str, backbone: Literal["alex", "vgg", "squeeze"] = "alex") -> None:
        super().__init__()
        features = read_features(weights, backbone, f"lpips_{backbone}_weights")
        self.distance = lpips_network(backbone)
        load_features(self.distance.get_submodule("net"), features, weights, backbone)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 64:
            raise ValueError(f"an image of {x.shape[-2]}x{x.shape[-1]} is too small for LPIPS: it needs 64 pixels")
        with torch.no_grad():
            return self.distance(x.float(), y.float(), normalize=True).flatten()

    def train(self, mode: bool = True) -> Lpips:
        """Stays in evaluation mode: dropout would make the number random."""
        return super().train(False)


class Dists(nn.Module):
    """DISTS (Ding 2020) of each image: lower is more alike. Arguments and result as of `Lpips`; the backbone is
    VGG16."""

    def __init__(self, weights: Path | str) -> None:
        super().__init__()
        features = read_features(weights, "vgg", "dists_weights")
        network = dists_network()
        load_features(network, features, weights, "vgg")
        self.distance = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.distance(x.float(), y.float()).reshape(len(x))  # torchmetrics squeezes a batch of one away


def read_features(path: Path | str, backbone: str, setting: str) -> dict[str, Tensor]:
    """The convolutional weights in a file, by their names below ``features.``."""
    path = Path(path)
    remedy = (
        f"download {ADDRESSES[backbone]} and set perceptual.{setting}=PATH, or set it to null to leave the metric out"
    )
    if not path.is_file():
        raise WeightsError(f"There is no file {path} with the ImageNet weights of '{backbone}': {remedy}.")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        return {
            name.removeprefix("features."): value for name, value in state.items() if not name.startswith("classifier.")
        }
    except (OSError, SafetensorError, RuntimeError, AttributeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{path} is not a file of weights ({type(error).__name__}): {remedy}.") from error
    except Exception as error:  # pickle's own errors
        raise WeightsError(
            f"{path} is not a file of weights, or holds more than weights, which crrn does not load: {remedy}."
        ) from error


def load_features(network: nn.Module, features: dict[str, Tensor], path: Path | str, backbone: str) -> None:
    """Puts weights named N.weight into a network whose stages keep the layers' numbers N at the end of their names."""
    own = {name: value for name, value in network.state_dict().items() if name.endswith((".weight", ".bias"))}
    wanted = {name: name.split(".", 2)[2] if name.startswith("slices.") else name.split(".", 1)[1] for name in own}
    wrong = [
        short for name, short in wanted.items() if short not in features or features[short].shape != own[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not hold the weights of '{backbone}' (features.{wrong[0]} differs): download "
            f"{ADDRESSES[backbone]}."
        )
    network.load_state_dict({name: features[short] for name, short in wanted.items()}, strict=False)
