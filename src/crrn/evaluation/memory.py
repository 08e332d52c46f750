"""The memory that an evaluation may take, and what a case needs of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from crrn.allocator import give_back_freed_memory
from crrn.errors import DataError
from crrn.inference.memory import SCRATCH, allowed, used
from crrn.metrics import Protocol

DECODED = 6
"""Bytes per pixel of each layer's file: the picture and its copy at the protocol's size."""
DECODING = 8
"""Bytes per pixel while one of the files is decoded."""
EVALUATED = 48
"""Bytes per pixel of what a case keeps at the size at which it is evaluated: input, both layers, ground truth."""
MEASURED = 200
"""Bytes per pixel beyond that of the metrics. With three files of 1000x1500 pixels a process grew by 137 (native),
183 (openrr without backbones), 207 (errnet) and 229 (native, errnet and windowseat) bytes per pixel in all, where these
constants give 274."""
WHOLE = {"ms_ssim": 210, "lpips": 370, "dists": 2240}
"""Bytes per pixel of the metrics that are computed of the whole image at once: 1.5 times the tensors that live together
on images of 256x256, which were counted as 138, 247 and 1488."""


def bytes_of_case(
    size: tuple[int, int], layers: int, protocols: Sequence[Protocol], perceptual: Collection[str]
) -> tuple[float, float]:
    """What a case takes beyond its remover: in the machine's memory, and where it is evaluated.

    Args:
        size: the photo's (height, width).
        layers: how many files the case has.
        protocols: those that it is evaluated by, all at one size.
        perceptual: the metrics with a backbone whose weights were given.
    """
    pixels = size[0] * size[1]
    height, width = protocols[0].size(*size)
    metrics = {metric for protocol in protocols for metric in protocol.metrics}
    whole = [WHOLE[metric] for metric in metrics & (set(perceptual) | {"ms_ssim"})]
    return (DECODED * layers + DECODING) * pixels, height * width * (EVALUATED + max([MEASURED, *whole]))


class Room:
    """The memory that is left.

    Args:
        memory: GB that the process may take, on a GPU what it may take there; or "auto", as of
            `crrn.inference.memory.allowed`.
        device: where removers run and metrics are computed.

    Raises:
        ConfigError: this is no limit.
    """

    def __init__(self, memory: float | str, device: torch.device) -> None:
        self.memory = memory
        self.device = device
        allowed(memory, device)

    def require(self, host: float, evaluated: float) -> None:
        """DataError where so many more bytes do not fit: in the machine's memory, and on the device."""
        if self.device.type == "cuda":
            self._require(evaluated, self.device, self.memory)
            self._require(host, torch.device("cpu"), "auto")
        else:
            self._require(host + evaluated, self.device, self.memory)

    def _require(self, needed: float, device: torch.device, memory: float | str) -> None:
        left = 0.0
        for tidy in (lambda: None, give_back_freed_memory):
            tidy()
            left = allowed(memory, device) - used(device) - SCRATCH
            if needed <= left:
                return
        raise DataError(
            f"The case needs {needed / 1e9:.2f} GB, and memory={memory} leaves {max(left, 0) / 1e9:.2f}: raise memory, "
            "or choose a protocol with smaller images."
        )
