"""Batch normalisation folded into the convolutions before it, which computes the same in fewer steps."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crrn.errors import ExportError

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, with each batch normalisation folded into its convolution.

    Let m and v be the running mean and variance of the normalisation, g its scale and b its shift. The convolution's
    weight W becomes W g / sqrt(v + eps). Its bias c becomes (c - m) g / sqrt(v + eps) + b. Computed in float64, one
    convolution at a time.

    Args:
        network: its normalisations follow their convolutions in an `nn.Sequential`.

    Returns:
        The copy, in the network's own precision; `nn.Identity` stands where a normalisation stood.

    Raises:
        ExportError: a normalisation follows no convolution.
    """
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        if isinstance(block, nn.Sequential):
            for place, (layer, after) in enumerate(pairwise(list(block))):
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(after, nn.BatchNorm2d):
                    dtype, transposed = layer.weight.dtype, isinstance(layer, nn.ConvTranspose2d)
                    fused = fuse_conv_bn_eval(layer.double(), after.double(), transpose=transposed)
                    block[place] = fused.to(dtype)
                    block[place + 1] = nn.Identity()
    left = [name for name, layer in folded.named_modules() if isinstance(layer, NORMALISATIONS)]
    if left:
        raise ExportError(
            f"The batch normalisation {left[0]} follows no convolution that it could be folded into: leave "
            "folds_batch_norm out of the network's class."
        )
    return folded
