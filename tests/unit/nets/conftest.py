"""Networks for tests: as narrow as can be, and with something to say."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from crrn.nets import build_network

WIDTH = 1 / 32


@pytest.fixture
def trained() -> Callable[[str], nn.Module]:
    """Builds a narrow network whose every weight and statistic is random, the head's too, in evaluation mode."""

    def build(architecture: str) -> nn.Module:
        network = build_network(architecture, WIDTH)
        generator = torch.Generator().manual_seed(0)
        for name, value in network.state_dict().items():
            if name.endswith(("running_var", "running_mean", "bias", "head.1.weight", "output.weight")):
                value.copy_(0.1 + 0.2 * torch.rand(value.shape, generator=generator))
        return network.eval()

    return build


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.marker,)


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes a file that runs code when unpickled, in torch's format or bare; gives it and the trace it would leave."""

    def write(path: Path, bare: bool = False) -> tuple[Path, Path]:
        marker = tmp_path / "executed"
        content = {"state_dict": {"net.weight": Bomb(marker)}, "crrn": {"net": {}}}
        if bare:
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)
        return path, marker

    return write
