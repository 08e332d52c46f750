"""Where a training step goes: arithmetic, memory traffic and time of the parts of CRRN's step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.utils.module_tracker import ModuleTracker

from crrn.bench.bench import Bench
from crrn.bench.race import FEWEST, synchronise
from crrn.bench.step import LEARNING_RATE, loss, network
from crrn.data.settings import parse_size
from crrn.layers import Layers
from crrn.nets import estimate
from crrn.nets.network import gradient_of
from crrn.private import Operation, each_operation, without_values

VGG, VGG_REST = "VGG16, convolutions", "VGG16, ReLU and pooling"
CONVOLUTIONS = "GiN and IiN, convolutions"
KINDS = {
    "convolution": CONVOLUTIONS,
    "batch_norm": "BatchNorm",
    "relu": "ReLU",
    "threshold": "ReLU",
    "cat": "concatenations",
}
"""Part of an operation outside VGG16 whose name has this in it."""
VGG_KINDS = {"convolution": VGG, "relu": VGG_REST, "threshold": VGG_REST, "max_pool": VGG_REST}
"""Likewise inside VGG16."""
LOSS, CASTS, OPTIMIZER, REST = "loss", "casts of weights", "optimizer", "rest"
PARTS = (VGG, VGG_REST, *dict.fromkeys(KINDS.values()), LOSS, CASTS, OPTIMIZER, REST)

ADAM_BYTES = 28
"""Of memory traffic for a weight: Adam in one kernel reads weight, gradient and two moments, and writes all but one."""
CAST_BYTES = 12
"""Likewise: mixed precision casts each weight to 16 bits, and its gradient back to 32."""


class PartsSuite:
    """What each part of a training step computes, moves and takes.

    Arithmetic and traffic are counted on tensors without values, at the size of a real step in mixed precision, each
    tensor once for each operation that reads or writes it. From them follows the least time on a GPU: no operation is
    faster than its arithmetic at the peak, or its traffic at the full bandwidth. Shares of the time are measured on
    this machine's device, in float32, at a smaller size.

    Args:
        width: the network's width.
        batch: mixtures in a step.
        size: "HEIGHTxWIDTH" of the mixtures.
        peak: the GPU's arithmetic in 1e12 operations a second, by default what an H200 reaches in a bfloat16 product.
        bandwidth: of its memory in 1e12 bytes a second, by default an H200's.
        measured_width, measured_batch: of the step that is timed.
    """

    def __init__(
        self,
        width: float = 1.0,
        batch: int = 16,
        size: str = "224x288",
        peak: float = 828.0,
        bandwidth: float = 4.8,
        measured_width: float = 0.25,
        measured_batch: int = 2,
    ) -> None:
        self.width = width
        self.batch = batch
        self.size = parse_size("suite.parts.size", size)
        self.peak = peak * 1e12
        self.bandwidth = bandwidth * 1e12
        self.measured = measured_width, measured_batch

    def run(self, bench: Bench) -> None:
        """Counts, then measures."""
        counted = self._counted()
        where = f"width {self.width:g}, {self.batch}x3x{self.size[0]}x{self.size[1]}"
        least = {part: self._least(counted[part].operations) for part in PARTS}
        for part in PARTS:
            title = f"{part}, {where}"
            bench.figure(f"{title}: arithmetic", counted[part].flops / 1e9, "GFLOP")
            bench.figure(f"{title}: memory traffic", counted[part].bytes / 1e9, "GB")
            bench.figure(f"{title}: least time on a GPU", 1e3 * least[part], "ms")
        gpu = f"{self.peak / 1e12:g} TFLOP/s and {self.bandwidth / 1e12:g} TB/s"
        bench.figure(f"whole step, {where}: least time on a GPU of {gpu}", 1e3 * sum(least.values()), "ms")
        flops = sum(part.flops for part in counted.values())
        bench.figure(f"whole step, {where}: share of the peak then", 100 * flops / sum(least.values()) / self.peak, "%")
        width, batch = self.measured
        seconds = self._seconds(bench)
        whole = [sum(step.values()) for step in seconds]
        device = "the GPU" if torch.cuda.is_available() else "this CPU"
        where = f"width {width:g}, batch {batch}, float32, {device}"
        for part in PARTS:
            if any(step[part] for step in seconds):
                shares = [100 * step[part] / total for step, total in zip(seconds, whole, strict=True)]
                bench.figure(f"{part}, {where}: share of the time", shares, "%")

    def _counted(self) -> dict[str, Part]:
        """The parts of a step in bfloat16, on tensors without values."""
        shape = self.batch, 3, *self.size
        net = network(self.width).to("meta", torch.bfloat16)
        watch = Watch()
        with watch.all():
            gradient_of(net, torch.empty(shape, device="meta"))
            layers = estimate(net, torch.empty(shape, device="meta", dtype=torch.bfloat16))
            estimated = [layer for layer in layers if layer is not None]
            torch.autograd.backward(estimated, [torch.empty_like(layer) for layer in estimated])
        with without_values():
            estimates = Layers(*(torch.empty(layer.shape, requires_grad=True) for layer in estimated))
            targets = Layers(*(torch.empty(layer.shape) for layer in estimated))
            with watch.all(), watch.within(LOSS):
                loss()(estimates, targets)  # which computes its gradient along with the value
        weights = sum(parameter.numel() for parameter in net.parameters())
        watch.parts[CASTS].add(0, CAST_BYTES * weights)
        watch.parts[OPTIMIZER].add(0, ADAM_BYTES * weights)
        return watch.parts

    def _seconds(self, bench: Bench) -> list[dict[str, float]]:
        """Seconds of each part, of several real steps."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        width, count = self.measured
        net = network(width).to(device).train()
        terms = loss()
        optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE, fused=True)
        mixture, background, reflection = torch.rand(3, count, 3, *self.size, device=device)
        steps = []
        began = time.perf_counter()
        for number in range(1 + bench.repetitions):  # the first one takes memory, and is left out
            watch = Watch()
            with watch.all(timed=True):
                targets = Layers(background, reflection, gradient_of(net, background))
                layers = net(mixture)
                with watch.within(LOSS):
                    value, _ = terms(layers, targets)
                value.backward()
                with watch.within(OPTIMIZER):
                    optimizer.step()
            optimizer.zero_grad()
            if number:
                steps.append({part: watch.parts[part].seconds for part in PARTS})
            if number >= FEWEST and time.perf_counter() - began > bench.seconds:
                break
        return steps

    def _least(self, operations: Sequence[tuple[float, float]]) -> float:
        """The least seconds of operations, given their arithmetic and their bytes."""
        return sum(max(flops / self.peak, moved / self.bandwidth) for flops, moved in operations)


@dataclass
class Part:
    """What the operations of one part need: floating-point operations and bytes of each, seconds of all."""

    operations: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, flops: float, moved: float, seconds: float = 0.0) -> None:
        """One more operation."""
        self.operations.append((flops, moved))
        self.seconds += seconds

    @property
    def flops(self) -> float:
        """Of all operations."""
        return sum(flops for flops, _ in self.operations)

    @property
    def bytes(self) -> float:
        """Of all operations."""
        return sum(moved for _, moved in self.operations)


class Watch:
    """Sees each operation of a step, forward and backward, and counts it to the part that it belongs to.

    Attributes:
        parts: what was counted.
    """

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {part: Part() for part in PARTS}
        self._tracker = ModuleTracker()
        self._within: str | None = None

    @contextmanager
    def all(self, timed: bool = False) -> Iterator[None]:
        """Sees what is done inside.

        Args:
            timed: whether operations are timed, one by one; on a GPU each is waited for, and the time of waiting for
                an operation that does next to nothing is subtracted.
        """
        waiting = idle() if timed else 0.0

        def see(operation: Operation) -> None:
            if not operation.view:
                seconds = max(0.0, operation.seconds - waiting)
                self.parts[self._part(operation.name)].add(operation.flops, operation.bytes, seconds)

        with self._tracker, each_operation(see, now_done if timed else time.perf_counter):
            yield

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """All operations inside belong to this part."""
        before, self._within = self._within, part
        try:
            yield
        finally:
            self._within = before

    def _part(self, name: str) -> str:
        if self._within is not None:
            return self._within
        # The image needs no gradient, so the tracker leaves the encoder at the end of the backward pass: after GiN.
        parents = self._tracker.parents
        if any(".iin.encoder" in parent for parent in parents) and not any(".gin." in parent for parent in parents):
            for kind, part in VGG_KINDS.items():
                if kind in name:
                    return part
        return next((part for kind, part in KINDS.items() if kind in name), REST)


def now_done() -> float:
    """The time when all that a GPU was given is done."""
    synchronise()
    return time.perf_counter()


def idle() -> float:
    """Seconds of waiting for an operation that does next to nothing; 0 on a CPU."""
    if not torch.cuda.is_available():
        return 0.0
    value = torch.zeros(1, device="cuda")
    seconds = []
    for _ in range(100):
        synchronise()
        began = time.perf_counter()
        value.add_(1)
        synchronise()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
