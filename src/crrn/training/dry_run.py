"""What a run would do, without doing it: sizes, arithmetic, memory, steps and data."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crrn.data import MixtureDataModule
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.nets import estimate
from crrn.nets.initial import Init
from crrn.nets.record import describe, find_record
from crrn.screen import console
from crrn.training.budget import Budget, describe_lengths
from crrn.training.callbacks import CallbackFactory
from crrn.training.measure import measured_lengths
from crrn.training.optimizers import Optimizer
from crrn.training.stage_training import refuse_foreign_terms
from crrn.training.stages import Stage, module_names, name_in, part_of, stage_modules, with_lengths
from crrn.training.trainers import TrainerFactory

GIGA = 1e9
PROBE = (96, 160)


def show_budget(
    net: nn.Module,
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    optimizer: Optimizer,
    trainer: TrainerFactory,
    callbacks: CallbackFactory,
    init: Init,
    compile: bool,
    budget: Budget,
) -> dict[str, Stage]:
    """Measures steps as a run would, and prints the result. Returns the stages with the lengths that follow.

    Raises:
        ConfigError: the budget is too short.
    """
    modules = stage_modules(net, stages, data, optimizer, init, compile=compile)
    stages = {name: stages[name] for name in modules}
    with tempfile.TemporaryDirectory() as folder:
        lengths, times = measured_lengths(modules, stages, data, trainer, callbacks, Path(folder), budget)
    console().print(describe_lengths(lengths, times, data.batches.batch_size))
    return with_lengths(stages, data, lengths.settings())


def show_dry_run(
    net: nn.Module,
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    optimizer: Optimizer,
    devices: Any = 1,
    accumulate: int = 1,
) -> None:
    """Prints a table of the stages and one of the data."""
    named = {name: (part, name_in(net, part)) for name in stages for part in [part_of(net, name)]}
    optimizer.check([module for part, prefix in named.values() for module in module_names(part, prefix)])
    table = Table(title=f"Dry run of {describe(find_record(net))}: nothing is trained")
    for label in ("Stage", "Parameters", "Size", "GFLOP a sample", "GB a step", "Epochs", "Steps"):
        table.add_column(label, justify="left" if label in ("Stage", "Size") else "right")
    batches = data.batches.per_epoch()
    for name, stage in stages.items():
        part, prefix = named[name]
        refuse_foreign_terms(part, stage.loss, name)
        optimizer.frozen(part, prefix)
        parameters = sum(parameter.numel() for parameter in part.parameters())
        for number, (height, width) in enumerate(data.batches.parsed_sizes()):
            memory = training_memory(part, stage.loss, data.batches.batch_size, height, width)
            steps = f"{stage.epochs * -(-batches // accumulate):,}"
            first = [f"{name}", f"{parameters / 1e6:.2f} M"] if number == 0 else ["", ""]
            last = [str(stage.epochs), steps] if number == 0 else ["", ""]
            flops = forward_flops(part, height, width) / GIGA
            table.add_row(*first, f"{height}x{width}", f"{flops:.2f}", f"{memory / GIGA:.2f}", *last)
    sources = Table(title="Data")
    for label in ("", "Source", "Training", "Held out", "Left out"):
        sources.add_column(label)
    summary = data.summary()
    for role in ("background", "reflection"):
        counts = summary[role]
        sources.add_row(role, *(str(counts[key]) for key in ("source", "training", "held_out", "left_out")))
    if "pairs" in summary:
        counts = summary["pairs"]
        scenes = f"{counts['training scenes']} scenes and {counts['held-out scenes']} held out"
        sources.add_row("pairs", scenes, str(counts["training"]), str(counts["held out"]), "")
    screen = console()
    screen.print(table)
    share = "" if str(devices) == "1" else f" (each of devices={devices} holds the weights, and its share of these)"
    screen.print(
        "GFLOP: a forward pass, a multiplication and an addition counted as two; training takes about three times it.\n"
        f"GB a step: weights, gradients, Adam's moments and what the backward pass keeps of {data.batches.batch_size} "
        f"samples{share} in float32.\nA lower bound: on a CPU, steps were measured to peak at 1.1 (width 1) to "
        "1.5 (width 0.25) times as much."
    )
    screen.print(sources)
    screen.print(
        f"{data.batches.samples_per_epoch} samples an epoch in {batches} batches of {data.batches.batch_size}; "
        f"{data.validation.mixtures} validation mixtures; fingerprint of the photos {summary['fingerprint']}"
    )


def forward_flops(net: nn.Module, height: int, width: int) -> int:
    """Floating-point operations of one mixture's forward pass, by torch's own counter; only its shapes are computed
    where the network allows that.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        copied = copy.deepcopy(net).to("meta" if getattr(net, "builds_on_meta", False) else "cpu")
        device = next(copied.parameters()).device
        estimate(copied, torch.rand(1, 3, height, width, device=device))
    return int(counter.get_total_flops())


def training_memory(net: nn.Module, loss: ReconstructionLoss, batch_size: int, height: int, width: int) -> int:
    """Bytes that a training step holds at the end of its forward pass: a lower bound of what a device needs.

    These are the weights, the gradient and two moments of each trained weight, and the tensors that autograd keeps for
    the backward pass. The latter are counted in a real pass of two small mixtures on the CPU, each storage once. They
    grow in proportion to the number of mixtures and of pixels.
    """
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    probed = 2, *PROBE
    images = torch.rand(probed[0], 3, *PROBE)
    own = copy.deepcopy(net).train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch = Mixture(images, images, images, formation=torch.ones(probed[0], 2))
        total, _ = loss(estimate(own, images), Layers(images, images, images[:, :1]), batch)
    weights = {parameter.untyped_storage().data_ptr() for parameter in own.parameters()}
    kept = sum(tensor.untyped_storage().nbytes() for key, tensor in held.items() if key not in weights)
    del total
    fixed = sum(
        parameter.numel() * parameter.element_size() * (4 if parameter.requires_grad else 1)
        for parameter in net.parameters()
    )
    return fixed + kept * batch_size * height * width // math.prod(probed)
