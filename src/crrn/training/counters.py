"""How fast a training is and what it uses of its machine, from clocks and counters that never wait for a GPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crrn.allocator import peak_memory

PREFIX = "speed/"
"""Of the names: these differ from run to run, all others do not."""

SIDE = 8192
"""Of the square matrices whose product says what a GPU can do."""


class Counters:
    """Counts from one row of the curves to the next.

    Args:
        flops: floating-point operations of a training step on one sample of (height, width); None leaves the share of
            the peak out.
        peak: operations a second that the device can do.
    """

    def __init__(self, flops: Callable[[int, int], float] | None = None, peak: float | None = None) -> None:
        self._flops = flops
        self._peak = peak
        self.begin()

    def begin(self, waited: float = 0.0) -> None:
        """Starts anew.

        Args:
            waited: seconds that the loader has kept its user waiting so far.
        """
        self._since = time.perf_counter()
        self._waited = waited
        self._samples = 0
        self._operations = 0.0

    def count(self, images: Tensor, devices: int) -> None:
        """Counts a batch (N, 3, H, W) that each device trained on."""
        self._samples += len(images) * devices
        if self._flops is not None:
            height, width = images.shape[-2:]
            self._operations += len(images) * self._flops(height, width)

    def row(self, device: torch.device, waited: float) -> dict[str, float]:
        """The values since the last row. The counters then start again.

        Returns:
            With the prefix ``speed/``:

            - ``samples_per_second``, over all devices,
            - ``waiting_share``, the share of the time that was spent waiting for input,
            - ``memory_gb``, the peak so far, of the GPU or of the process,
            - ``peak_share``, the share of the rate of a matrix product on the device, if both are known.
        """
        elapsed = time.perf_counter() - self._since
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
        values = {
            "samples_per_second": self._samples / elapsed,
            "waiting_share": (waited - self._waited) / elapsed,
            "memory_gb": memory / 1e9,
        }
        if self._operations and self._peak:
            values["peak_share"] = self._operations / elapsed / self._peak
        self.begin(waited)
        return {PREFIX + name: value for name, value in values.items()}


def training_flops(net: nn.Module, forward: Callable[[nn.Module, Tensor], Any], height: int, width: int) -> float:
    """Floating-point operations of the forward and backward passes of one sample, by torch's own counter.

    Args:
        net: the network, of which a copy without values is used; parameters that are not trained are not counted twice.
        forward: gives the layers that a network estimates for images (2, 3, height, width).
        height, width: of the images.
    """
    probe = copy.deepcopy(net).to("meta")
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        layers = forward(probe, torch.empty(2, 3, height, width, device="meta"))
        torch.stack([layer.sum() for layer in layers if layer is not None]).sum().backward()
    return counter.get_total_flops() / 2


def measured_peak(trainer: L.Trainer) -> float:
    """Operations a second of a large matrix product on the trainer's GPU, in the precision in which it trains."""
    device = trainer.strategy.root_device
    dtypes = {"bf16": torch.bfloat16, "16-m": torch.float16, "16-t": torch.float16}
    dtype = dtypes.get(str(trainer.precision)[:4], torch.float32)
    return max(product_rate(device, dtype, SIDE, repetitions=10) for _ in range(3))


def product_rate(device: torch.device, dtype: torch.dtype, side: int, repetitions: int) -> float:
    """Operations a second of a product of two square matrices."""
    a, b = torch.rand(2, side, side, device=device, dtype=torch.float32).to(dtype)
    a @ b
    _wait(device)
    began = time.perf_counter()
    for _ in range(repetitions):
        a @ b
    _wait(device)
    return 2 * side**3 * repetitions / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
