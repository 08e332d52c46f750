"""LPIPS and DISTS with backbones of random weights, against their formulas on torchvision's own networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.dists as library_dists
import torchmetrics.functional.image.lpips as library_lpips
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from crrn.errors import WeightsError
from crrn.metrics import Dists, ImageMean, Lpips, named_protocol

AFTER = {
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}
"""The layers of torchvision's ``features`` behind which LPIPS compares (Zhang 2018)."""
NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def random_network(name: str) -> nn.Module:
    """torchvision's network, its features only, with weights that keep the activations' size."""
    with torch.device("meta"):
        features: nn.Module = getattr(torchvision.models, NETWORKS[name])().features
    features = features.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in features.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.normal_(0, (2 / fan) ** 0.5, generator=generator)
    return features


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {name: random_network(name) for name in NETWORKS}


@pytest.fixture(scope="module")
def files(networks: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weight files as they are had: whole checkpoints (.pth), and one as safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for name, network in networks.items():
        state = {f"features.{key}": value for key, value in network.state_dict().items()}
        state["classifier.6.bias"] = torch.zeros(1000)
        paths[name] = folder / (f"{name}.safetensors" if name == "squeeze" else f"{name}.pth")
        save_file(state, paths[name]) if name == "squeeze" else torch.save(state, paths[name])
    return paths


def images(side: int = 72) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = functional.interpolate(torch.rand(2, 3, 12, 12, generator=generator), (side, side), mode="bilinear")
    noise = torch.randn(y.shape, generator=generator) * torch.tensor([0.02, 0.3]).view(2, 1, 1, 1)
    return (y + noise).clamp(0, 1), y


def tapped(features: nn.Module, x: Tensor, after: tuple[int, ...]) -> list[Tensor]:
    taps = []
    for number, layer in enumerate(features.children()):
        x = nn.functional.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
        if number in after:
            taps.append(x)
    return taps


@torch.no_grad()
def lpips_by_hand(features: nn.Module, name: str, x: Tensor, y: Tensor) -> Tensor:
    """Sum over layers of the mean over pixels of w . (x^ - y^)^2, x^ features of unit length (Zhang 2018, Eq. 1)."""
    path = Path(library_lpips.__file__).parent / "lpips_models" / f"{name}.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    total = torch.zeros(len(x))
    taps = (tapped(features, (2 * image - 1 - shift) / scale, AFTER[name]) for image in (x, y))
    for number, (a, b) in enumerate(zip(*taps, strict=True)):
        unit = [f / (f.square().sum(1, keepdim=True) + 1e-8).sqrt() for f in (a, b)]
        weight = weights[f"lin{number}.model.1.weight"]
        total += ((unit[0] - unit[1]).square() * weight).sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize("name", ["alex", "squeeze"])
def test_lpips_is_its_formula(name: str, networks: dict[str, nn.Module], files: dict[str, Path]) -> None:
    x, y = images()
    measured = Lpips(files[name], name)(x, y)  # type: ignore[arg-type]
    expected = lpips_by_hand(networks[name], name, x, y)
    torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-6)
    assert measured[1] > 2 * measured[0] > 0


@torch.no_grad()
def dists_by_hand(features: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """1 - sum over all maps of alpha l + beta s (Ding 2020, Eq. 6), VGG16 with Hanning-weighted L2 pooling."""
    weights = torch.load(Path(library_dists.__file__).parent / "dists_models" / "weights.pt", map_location="cpu")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    hanning = torch.tensor(np.hanning(5)[1:-1]).float()
    window = hanning[:, None] * hanning / (hanning[:, None] * hanning).sum()

    def stages(image: Tensor) -> list[Tensor]:
        found, x = [image], (image - mean) / std
        for number, layer in enumerate(features.children()):
            if isinstance(layer, nn.MaxPool2d):
                if number == 30:
                    break
                channels = x.shape[1]
                pooled = functional.conv2d(x * x, window.expand(channels, 1, 3, 3), None, 2, 1, 1, channels)
                x = (pooled + 1e-12).sqrt()
            else:
                x = nn.functional.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
            if number in AFTER["vgg"]:
                found.append(x)
        return found

    alpha, beta = weights["alpha"].flatten(), weights["beta"].flatten()
    whole, start, total = alpha.sum() + beta.sum(), 0, torch.zeros(len(x))
    for a, b in zip(stages(x), stages(y), strict=True):
        part = slice(start, start + a.shape[1])
        start += a.shape[1]
        (ma, mb), (va, vb) = ([f.mean((2, 3)) for f in (a, b)], [f.var((2, 3), correction=0) for f in (a, b)])
        covariance = ((a - ma[..., None, None]) * (b - mb[..., None, None])).mean((2, 3))
        luminance = (2 * ma * mb + 1e-6) / (ma**2 + mb**2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (va + vb + 1e-6)
        total += (alpha[part] * luminance + beta[part] * structure).sum(1) / whole
    return 1 - total


def test_dists_is_its_formula(networks: dict[str, nn.Module], files: dict[str, Path]) -> None:
    x, y = images()
    measured = Dists(files["vgg"])(x, y)
    torch.testing.assert_close(measured, dists_by_hand(networks["vgg"], x, y), rtol=1e-3, atol=1e-5)
    assert measured[1] > 1.2 * measured[0] > 0


def test_a_batch_of_one_a_metric_and_a_protocol(files: dict[str, Path]) -> None:
    x, y = images()
    measures = {"lpips": Lpips(files["alex"]), "dists": Dists(files["vgg"])}
    for measure in measures.values():
        assert measure(x[:1], y[:1]).shape == (1,)
        assert measure(x, x).numpy() == pytest.approx(0, abs=1e-5)
        metric = ImageMean(measure)
        metric.update(x[:1], y[:1])
        metric.update(x[1:], y[1:])
        assert metric.compute().item() == pytest.approx(measure(x, y).mean().item(), rel=1e-4)
    for name in ("openrr", "windowseat"):
        values = named_protocol(name).measure(images(80)[0][:1], images(80)[1][:1], None, measures)
        assert values["lpips"].shape == (1,) and ("dists" in values) == (name == "openrr")


def test_other_weights_are_one_sentence(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'alex'"):
        Lpips(files["squeeze"])
    with pytest.raises(WeightsError, match=r"missing\.pth"):
        Dists(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"perceptual\.dists_weights=PATH"):
        Dists(tmp_path / "text.pth")
    torch.save({"features.0.weight": Path("code")}, tmp_path / "pickled.pth")
    with pytest.raises(WeightsError, match=r"pickled\.pth"):
        Lpips(tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match="64 pixels"):
        Lpips(files["alex"])(*images(40))
