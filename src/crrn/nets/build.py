"""From a name and a width to a network."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from crrn.errors import ConfigError
from crrn.nets.ceilnet import CEILNet, EdgeNet, ImageNet
from crrn.nets.crrn import CRRN
from crrn.nets.gin import GiN
from crrn.nets.iin import IiN
from crrn.nets.network import Network

ARCHITECTURES: dict[str, Callable[[float, str | os.PathLike[str] | None], Network]] = {
    "crrn": CRRN,
    "iin": IiN,
    "gin": lambda width, _: GiN(width),
    "ceilnet": lambda width, _: CEILNet(width),
    "ceilnet_edges": lambda width, _: EdgeNet(width),
    "ceilnet_image": lambda width, _: ImageNet(width),
}
"""Every network by its name: called with the width and the encoder's weights, which only some have."""


def build_network(
    architecture: str,
    width: float = 1.0,
    encoder_weights: str | os.PathLike[str] | None = None,
    channels_last: bool = False,
    compile: bool = False,
) -> Network:
    """Build a network; the config's node `net` maps one to one to these arguments.

    Args:
        architecture: "crrn"; "iin", the ablation without gradient features; "gin", the gradient network alone; or
            "ceilnet", with its parts "ceilnet_edges" and "ceilnet_image" alone.
        width: factor of every channel count; 1.0 is the paper.
        encoder_weights: "imagenet", a path, or None for a random VGG16 encoder; only "crrn" and "iin" have it, and the
            others do not look at this.
        channels_last: keep the weights in that memory format, which tensor cores prefer; the results are the same.
        compile: compile the forward pass at its first call, one graph for each image size; the state dict's keys do
            not change.

    Returns:
        The network in training mode. Its `config`, as keywords of this function, rebuilds its structure.

    Raises:
        ConfigError: the architecture is unknown or the width not positive.
        WeightsError: the encoder weights cannot be had or do not fit.
    """
    try:
        make = ARCHITECTURES[architecture]
    except (KeyError, TypeError):
        raise ConfigError(
            f"net.architecture={architecture!r} is unknown: choose one of {', '.join(ARCHITECTURES)}"
        ) from None
    network = make(width, encoder_weights)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    if compile:
        network.compile()
    return network
