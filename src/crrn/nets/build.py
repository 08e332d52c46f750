"""From a name and a width to a network."""

from __future__ import annotations

import os

import torch

from crrn.errors import ConfigError
from crrn.layers import Remover
from crrn.nets.crrn import CRRN
from crrn.nets.gin import GiN
from crrn.nets.iin import IiN

ARCHITECTURES = ("crrn", "iin", "gin")


def build_network(
    architecture: str,
    width: float = 1.0,
    encoder_weights: str | os.PathLike[str] | None = None,
    channels_last: bool = False,
    compile: bool = False,
) -> Remover:
    """Build a network; the config's node `net` maps one to one to these arguments.

    Args:
        architecture: "crrn"; "iin", the ablation without gradient features; or "gin", the gradient network alone.
        width: factor of every channel count; 1.0 is the paper.
        encoder_weights: "imagenet", a path, or None for a random VGG16 encoder; "gin" has no encoder and does not
            look at it.
        channels_last: keep the weights in that memory format, which tensor cores prefer; the results are the same.
        compile: compile the forward pass at its first call, one graph for each image size; the state dict's keys do
            not change.

    Returns:
        The network in training mode. Its `config`, as keywords of this function, rebuilds its structure.

    Raises:
        ConfigError: the architecture is unknown or the width not positive.
        WeightsError: the encoder weights cannot be had or do not fit.
    """
    network: Remover
    if architecture == "crrn":
        network = CRRN(width, encoder_weights)
    elif architecture == "iin":
        network = IiN(width, encoder_weights)
    elif architecture == "gin":
        network = GiN(width)
    else:
        raise ConfigError(f"net.architecture={architecture!r} is unknown: choose one of {', '.join(ARCHITECTURES)}")
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    if compile:
        network.compile()
    return network
