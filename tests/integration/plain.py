"""A network without batch statistics: what several devices compute of it can equal what one does."""

from __future__ import annotations

from torch import nn

from crrn.layers import Remover
from crrn.nets import build_network


def plain_network(
    architecture: str, width: float, encoder_width: float | None, head: str, channels_last: bool, compile: bool
) -> Remover:
    """The network of the same settings with normalisation over each image's channels instead of over the batch."""
    network = build_network(architecture, width, encoder_width, head, channels_last, compile)
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return network
