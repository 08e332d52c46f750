"""A network on one photo: a small one, and one of 12 megapixels whole and in tiles; time and memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from crrn.allocator import peak_memory, reset_peak_memory
from crrn.bench.bench import Bench
from crrn.bench.machine import in_fresh_process
from crrn.bench.race import synchronise
from crrn.inference import Predictor
from crrn.inference.memory import available, bytes_per_pixel
from crrn.layers import Layers
from crrn.nets import CRRN

PLAIN, OURS, HALF = "the network as it is", "crrn", "crrn, bfloat16"

LIMITLESS = 1e6
"""GB: never tiles."""


class InferenceSuite:
    """CRRN through the `Predictor`, background only, a photo as it comes to ``src.predict``.

    The small photo goes whole, in float32 and in bfloat16, beside the network as it was trained, called without more
    ado; the results agree to a mean difference of 0.01.
    The large one runs in processes of its own, so that the memory is its own: whole, and in the tiles that a limit
    leads to. Memory is what the process holds at its peak beyond what it held with network and photo loaded.

    Args:
        small, large: "HEIGHTxWIDTH" of the photos.
        width: the network's width.
        limit: GB that the process may take where it works in tiles.
    """

    def __init__(
        self, small: str = "400x540", large: str = "3000x4000", width: float = 0.25, limit: float = 2.0
    ) -> None:
        from crrn.data.settings import parse_size

        self.small = parse_size("suite.inference.small", small)
        self.large = parse_size("suite.inference.large", large)
        self.width = width
        self.limit = limit

    def run(self, bench: Bench) -> None:
        """Measures both photos."""
        small, large = ("x".join(map(str, size)) for size in (self.small, self.large))
        photo = mixture(*self.small)
        bench.race(
            f"CRRN width {self.width:g}, one photo of {small}",
            {
                PLAIN: partial(plainly, network(self.width), photo),
                OURS: contestant(network(self.width), photo),
                HALF: contestant(network(self.width), photo, precision="bf16"),
            },
            reference=PLAIN,
            tolerance=0.01,
            difference=mean_difference,
            unit="photo",
        )
        need = bytes_per_pixel(network(self.width)) * self.large[0] * self.large[1]
        plans = {f"tiles, limit {self.limit:g} GB": self.limit}
        if need < 0.8 * available(torch.device("cpu")):
            plans = {"whole": LIMITLESS, **plans}
        for name, memory in plans.items():
            seconds, grown, tile = in_fresh_process(predict, *self.large, self.width, memory, bench.threads)
            where = f"{large}, {name}"
            bench.figure(f"CRRN width {self.width:g}, {where}: time", seconds, "s")
            bench.figure(f"CRRN width {self.width:g}, {where}: memory", grown / 1e9, "GB")
            bench.figure(f"CRRN width {self.width:g}, {where}: side of a tile", float(tile), "pixels")


def network(width: float) -> nn.Module:
    """CRRN with random weights, the same each time; its last layer, which starts at zero, too."""
    torch.manual_seed(2018)
    net = CRRN(width).eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.01)
    return net


def mixture(height: int, width: int) -> Tensor:
    """A photo as removers take it."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2018))


def contestant(net: nn.Module, photo: Tensor, precision: str = "fp32") -> Callable[[], Any]:
    """The prediction of one photo, without tiles."""
    predictor = Predictor(net.to(device()), layers=["background"], memory=LIMITLESS, precision=precision)
    return partial(predictor, photo)


def plainly(net: nn.Module, photo: Tensor) -> Layers:
    """The network called as it is."""
    with torch.no_grad():
        layers = net.to(device())(photo.to(device()))
    return Layers(background=layers.background.clamp_(0, 1).to(photo.device))


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mean_difference(first: Any, second: Any) -> float:
    """Of two backgrounds."""
    return float((first.background - second.background).abs().mean())


def predict(height: int, width: int, net_width: float, memory: float, threads: int) -> tuple[float, float, int]:
    """One prediction on the CPU: its seconds, the bytes by which this process grew at its peak, the height of a
    tile.
    """
    logging.getLogger("crrn").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    predictor = Predictor(network(net_width), layers=["background"], memory=memory)
    predictor(mixture(64, 64))
    photo = mixture(height, width)
    tile = predictor.tile_for(height, width)[0]
    before = reset_peak_memory()
    began = time.perf_counter()
    predictor(photo)
    synchronise()
    return time.perf_counter() - began, peak_memory() - before, tile
