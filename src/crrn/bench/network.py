"""CRRN forward, and forward and backward: images a second, share of what the machine can do, memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crrn.allocator import peak_memory, reset_peak_memory
from crrn.bench.bench import Bench
from crrn.bench.machine import in_fresh_process
from crrn.bench.race import measure
from crrn.data.settings import parse_size
from crrn.errors import ConfigError
from crrn.nets import CRRN

PLAIN, OURS, COMPILED, HALF = "contiguous", "crrn", "crrn, compiled", "crrn, bfloat16"

SIDE = 1024
"""Of the square matrices whose product says what the machine can do."""


class NetworkSuite:
    """The network as it is shipped, channels last, beside contiguous tensors, compiled, and in bfloat16 by autocast.

    Forward is in evaluation mode without gradients; backward is of the layers' mean square, in training mode. Layers
    agree on average to 1e-4 in float32 and to 0.05 in bfloat16, which runs where the processor multiplies it faster.
    The share of the peak is the convolutions' floating-point operations a second beside those of float32 matrix
    products, measured just after.

    Args:
        widths: of the network.
        sizes: "HEIGHTxWIDTH" of the images.
        batches: images in a batch, of each width.
        compile: whether the compiled network runs, too; compiling takes minutes.
        memory: whether the memory of each pass is measured, in a process of its own.
    """

    def __init__(
        self,
        widths: Sequence[float] = (0.25, 1.0),
        sizes: Sequence[str] = ("96x160", "224x288"),
        batches: Sequence[int] = (8, 2),
        compile: bool = False,
        memory: bool = True,
    ) -> None:
        if len(widths) != len(batches):
            raise ConfigError(f"suite.network.batches={list(batches)} must give one batch for each of {list(widths)}")
        self.networks = list(zip(widths, batches, strict=True))
        self.sizes = [parse_size("suite.network.sizes", size) for size in sizes]
        self.compile = compile
        self.memory = memory

    def run(self, bench: Bench) -> None:
        """Measures forward, and forward and backward, of each width at each size."""
        single, half = (product_rate(dtype) for dtype in (torch.float32, torch.bfloat16))
        bench.figure(f"matrix product {SIDE}x{SIDE}, float32", single, "GFLOP/s")
        bench.figure(f"matrix product {SIDE}x{SIDE}, bfloat16", half, "GFLOP/s")
        for width, batch in self.networks:
            for height, breadth in self.sizes:
                for backward in (False, True):
                    self._measure(bench, (width, batch, height, breadth, backward), max(half) > 1.2 * max(single))

    def _measure(self, bench: Bench, case: tuple[float, int, int, int, bool], bfloat16: bool) -> None:
        width, batch, height, breadth, backward = case
        title = f"{'forward and backward' if backward else 'forward'}, width {width:g}, {height}x{breadth}"
        ours = Pass(*case)
        contestants = {PLAIN: Pass(*case, channels_last=False), OURS: ours}
        if self.compile:
            contestants[COMPILED] = Pass(*case, compile=True)
        race = partial(bench.race, difference=mean_difference, items=batch, seconds=bench.seconds / 2)
        times = race(title, contestants, reference=PLAIN, tolerance=1e-4)
        rate = max(product_rate(torch.float32))
        operations = ours.operations() / 1e9
        bench.figure(
            f"{title}: share of the matrix product's rate",
            [100 * operations / seconds / rate for seconds in times.seconds[OURS]],
            "%",
        )
        if bfloat16:
            race(
                f"{title}, precision",
                {OURS: ours, HALF: Pass(*case, half=True)},
                reference=OURS,
                tolerance=0.05,
            )
        if self.memory:
            grown = in_fresh_process(memory_of, *case, bench.threads)
            bench.figure(f"{title}: memory, batch {batch}", grown / 1e9, "GB")


class Pass:
    """One pass of a network over a batch, always the same; called, it gives the layers, joined."""

    def __init__(
        self,
        width: float,
        batch: int,
        height: int,
        breadth: int,
        backward: bool,
        *,
        channels_last: bool = True,
        half: bool = False,
        compile: bool = False,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        torch.manual_seed(2018)
        net = CRRN(width)
        for parameter in net.parameters():
            if not parameter.any():  # the last layer starts at zero: all networks would agree
                nn.init.normal_(parameter, std=0.01)
        self.net = net.to(memory_format=layout).train(backward)
        if compile:
            self.net.compile()
        self.images = torch.rand(batch, 3, height, breadth).contiguous(memory_format=layout)
        self.backward = backward
        self.half = half

    def __call__(self) -> Tensor:
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if self.half else nullcontext()
        with torch.set_grad_enabled(self.backward):
            with autocast:
                layers = torch.cat([layer.float() for layer in self.net(self.images) if layer is not None], dim=1)
            if self.backward:
                self.net.zero_grad()
                layers.square().mean().backward()
        return layers.detach()

    def operations(self) -> float:
        """Floating-point operations of a pass's convolutions."""
        with FlopCounterMode(display=False) as counter:
            self()
        return float(counter.get_total_flops())


def product_rate(dtype: torch.dtype, repetitions: int = 5) -> list[float]:
    """GFLOP/s of a matrix product, several times."""
    a, b = torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(2018)).to(dtype)
    a @ b
    times = measure({"product": lambda: a @ b}, "product", repetitions, seconds=1.0)
    return [2 * SIDE**3 / seconds / 1e9 for seconds in times.seconds["product"]]


def mean_difference(first: Any, second: Any) -> float:
    """The mean absolute difference of two passes' layers."""
    return float((first - second).abs().mean())


def memory_of(width: float, batch: int, height: int, breadth: int, backward: bool, threads: int) -> float:
    """Bytes by which this process grows at the peak of a pass."""
    logging.getLogger("crrn").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    measured = Pass(width, batch, height, breadth, backward)
    before = reset_peak_memory()
    measured()
    return peak_memory() - before
