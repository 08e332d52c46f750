"""Batches of photos and of drawn parameters, as the data side makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from crrn.mixing import Mixing


def layers(seed: int, kind: str = "noise", count: int = 3, height: int = 24, width: int = 20) -> tuple[Tensor, Tensor]:
    """Backgrounds and reflections: noise, or extremes that saturate."""
    rng = torch.Generator().manual_seed(seed)
    background, reflection = torch.rand(2, count, 3, height, width, generator=rng)
    if kind == "white":
        background = reflection = torch.ones_like(background)
    elif kind == "black":
        background = reflection = torch.zeros_like(background)
    elif kind == "binary":
        background, reflection = background.round(), reflection.round()
    elif kind == "dark":
        background, reflection = background / 4, reflection / 4
    return background, reflection


def draws(model: Mixing, seed: int, count: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [dict(model.draw(rng)) for _ in range(count)]


def stacked(made: list[dict[str, Any]]) -> dict[str, Any]:
    """Floats and float arrays as one tensor (N, *shape) each, ints as an int64 array (N,)."""
    return {
        name: np.array([one[name] for one in made], dtype=np.int64)
        if isinstance(value, int)
        else torch.from_numpy(np.array([one[name] for one in made], dtype=np.float32))
        for name, value in made[0].items()
    }


def drawn(model: Mixing, seed: int, count: int = 3) -> dict[str, Any]:
    return stacked(draws(model, seed, count))
