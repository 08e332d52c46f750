"""Convolution weights as 8-bit integers with one scale for each output channel: a quarter of the space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SCALE = ".scale"
"""What is added to a weight's name for its scales."""

LEVELS = 127
"""The largest integer; the weights of a channel are rounded to -127 ... 127 steps of its scale."""


def to_int8(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's state with each convolution's weight W as integers: round(W / s), s = max |W| / 127 of each output
    channel.

    Args:
        network: tells which weights are those of convolutions, and which of their dimensions are output channels.
        state: its state dict.

    Returns:
        The state with int8 tensors in place of the weights and, under NAME.scale, the float32 scales, of size 1 in all
        dimensions but that of the output channels. All else is as it was.
    """
    result = dict(state)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            key = f"{name}.weight" if name else "weight"
            channels = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            weight = state[key].double()
            largest = weight.abs().amax([dim for dim in range(weight.dim()) if dim != channels], keepdim=True)
            scale = (largest / LEVELS).float().double()
            result[key] = (weight / scale.where(scale > 0, 1)).round().clamp(-LEVELS, LEVELS).to(torch.int8)
            result[key + SCALE] = scale.float()
    return result


def from_int8(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state in float32: the inverse of `to_int8` but for the rounding. A state without integers is as it was.

    Raises:
        ValueError: a weight of integers has no scales, or scales that do not fit it.
    """
    result = dict(state)
    for name, value in state.items():
        if value.dtype == torch.int8:
            scale = result.pop(name + SCALE, None)
            if scale is None or any(size not in (1, own) for size, own in zip(scale.shape, value.shape, strict=True)):
                raise ValueError(f"the weight {name} has no scales that fit it")
            result[name] = value.float() * scale
    return result
