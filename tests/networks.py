"""Networks for tests: narrow, and with something to say."""

from __future__ import annotations

from typing import Any

import torch

from crrn.nets import CRRN, CEILNet, EdgeNet, GiN, IiN, ImageNet, Network

NETWORKS: dict[str, type[Network]] = {
    "crrn": CRRN,
    "iin": IiN,
    "gin": GiN,
    "ceilnet": CEILNet,
    "ceilnet_edges": EdgeNet,
    "ceilnet_image": ImageNet,
}


def named(name: str, width: float = 1.0, **settings: Any) -> Network:
    """One of crrn's networks."""
    return NETWORKS[name](width, **settings)


def lively(architecture: str, width: float = 1 / 32) -> Network:
    """A network in evaluation mode whose normalisations know their inputs and whose head is not zero."""
    torch.manual_seed(0)
    network = named(architecture, width).train()
    for name, value in network.named_parameters():
        if name.endswith(("head.1.weight", "output.weight")):
            torch.nn.init.normal_(value, std=0.01 if name.endswith("head.1.weight") else 0.0025)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all passes
            torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
            torch.nn.init.uniform_(layer.bias, -0.2, 0.2)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96))
    return network.eval()
