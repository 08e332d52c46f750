"""The loss of CRRN, forward and backward, against the same from other libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from crrn.bench import peer_losses
from crrn.bench.bench import Bench
from crrn.bench.extras import require
from crrn.data.settings import parse_size
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss

PEERS = {
    "pytorch-msssim": (peer_losses.pytorch_msssim, 2),
    "kornia": (peer_losses.kornia, 3),
    "torchmetrics": (peer_losses.torchmetrics, 5),
}
"""Their SSIM and SI, and how many times faster crrn should be."""


class LossSuite:
    """Paper Eq. 7 on all three layers and its gradient, equal to 1e-5 (the gradients: of their largest value).

    Args:
        sizes: "HEIGHTxWIDTH" of the images.
        batch: images in a batch.

    Raises:
        ConfigError: when it runs, if a peer is not installed.
    """

    def __init__(self, sizes: Sequence[str] = ("224x288", "96x160"), batch: int = 16) -> None:
        self.sizes = [parse_size("suite.loss.sizes", size) for size in sizes]
        self.batch = batch

    def run(self, bench: Bench) -> None:
        """Measures each size against each peer."""
        require("loss", "pytorch_msssim")
        ours = ReconstructionLoss(background={"ssim": 0.8, "l1": 1}, reflection={"ssim": 1}, gradient={"si": 1})
        for height, width in self.sizes:
            estimate, target = layers(self.batch, height, width)
            for name, (measures, target_ratio) in PEERS.items():
                theirs = peer_losses.eq_7(*measures())
                bench.race(
                    f"Eq. 7 forward and backward, {height}x{width}, against {name}",
                    {
                        name: step(theirs, estimate, target),
                        "crrn": step(lambda x, y: ours(Layers(*x), Layers(*y))[0], estimate, target),
                    },
                    reference=name,
                    tolerance=1e-5,
                    difference=largest_share,
                    targets={"crrn": target_ratio},
                    items=self.batch,
                )


def layers(batch: int, height: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """An estimate of background, reflection and gradient, and what is true."""
    generator = torch.Generator().manual_seed(2018)
    truth = [torch.rand(batch, channels, height, width, generator=generator) for channels in (3, 3, 1)]
    guess = [layer + 0.2 * torch.randn(layer.shape, generator=generator) for layer in truth]
    return [layer.requires_grad_() for layer in guess], truth


def step(loss: peer_losses.Loss, estimate: list[Tensor], target: list[Tensor]) -> Callable[[], list[Tensor]]:
    """The loss and its gradients."""

    def run() -> list[Tensor]:
        value = loss(estimate, target)
        return [value, *torch.autograd.grad(value, estimate)]

    return run


def largest_share(first: Any, second: Any) -> float:
    """The largest difference of losses and gradients, each as a share of the first's largest value."""
    return max(float(((a - b).abs().max() / a.abs().max()).detach()) for a, b in zip(first, second, strict=True))
