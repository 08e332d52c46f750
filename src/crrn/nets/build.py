"""From a name and widths to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from crrn.errors import ConfigError
from crrn.nets.ceilnet import CEILNet, EdgeNet, ImageNet
from crrn.nets.crrn import CRRN
from crrn.nets.gin import GiN
from crrn.nets.iin import IiN
from crrn.nets.network import Network

ARCHITECTURES: dict[str, Callable[[float, float | None, str], Network]] = {
    "crrn": CRRN,
    "iin": lambda width, encoder_width, _: IiN(width, encoder_width),
    "gin": lambda width, _, head: GiN(width, head),
    "ceilnet": lambda width, *_: CEILNet(width),
    "ceilnet_edges": lambda width, *_: EdgeNet(width),
    "ceilnet_image": lambda width, *_: ImageNet(width),
}
"""Every network by its name: called with the width, the encoder's width and the head, which only some have."""


def build_network(
    architecture: str,
    width: float = 1.0,
    encoder_width: float | None = None,
    head: str = "additive",
    channels_last: bool = False,
    compile: bool = False,
) -> Network:
    """Build a network; the config's node `net` maps one to one to these arguments.

    Args:
        architecture: "crrn"; "iin", the ablation without gradient features; "gin", the gradient network alone; or
            "ceilnet", with its parts "ceilnet_edges" and "ceilnet_image" alone.
        width: factor of every channel count; 1.0 is the paper.
        encoder_width: the factor for the VGG16 encoder of "crrn" and "iin"; None: `width`. The others ignore it.
        head: of GiN, "additive" or "sigmoid"; see `GiN`. Networks without GiN ignore it.
        channels_last: keep the weights in that memory format, which tensor cores prefer; the results are the same.
        compile: compile the forward pass at its first call, one graph for each image size; the state dict's keys do
            not change.

    Returns:
        The network in training mode. Its `config`, as keywords of this function, rebuilds its structure.

    Raises:
        ConfigError: the architecture or the head is unknown, or a width is not positive.
    """
    try:
        make = ARCHITECTURES[architecture]
    except (KeyError, TypeError):
        raise ConfigError(
            f"net.architecture={architecture!r} is unknown: choose one of {', '.join(ARCHITECTURES)}"
        ) from None
    network = make(width, encoder_width, head)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    if compile:
        network.compile()
    return network


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A network's config as this version writes it; files of before `head` and `encoder_width` do not have them."""
    head = {"head": "sigmoid"} if config.get("architecture") in ("crrn", "gin") else {}
    encoder = {"encoder_width": config.get("width")} if config.get("architecture") in ("crrn", "iin") else {}
    return {**head, **encoder, **config}
