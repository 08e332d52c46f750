"""What a stage computes at each training step: the network's estimate, its targets, and the loss of the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.nets.network import gradient_of, training_estimate
from crrn.private import allow_graphs

GRAPHS = 64
"""Graphs that a run may compile: for each stage one for each size of its batches, and another where a batch has unknown
reflections or no formula of formation."""

Objective = Callable[[nn.Module, ReconstructionLoss, Mixture], tuple[Tensor, dict[str, Tensor]]]


def objective(net: nn.Module, loss: ReconstructionLoss, batch: Mixture) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its terms, as `ReconstructionLoss` gives them."""
    estimated = training_estimate(net, batch.mixture, batch.background)
    return loss(estimated, targets_of(net, batch, loss.layers), batch)


def targets_of(net: nn.Module, batch: Mixture, needed: Iterable[str] = Layers._fields) -> Layers:
    """The ground truth of a batch; the gradient of B is computed here, from tensors, and only when needed."""
    gradient = gradient_of(net, batch.background) if "gradient" in needed else None
    return Layers(batch.background, batch.reflection, gradient)


def compiled_objective(backend: str | Callable[..., Any] = "inductor") -> Objective:
    """`objective` compiled by torch, forward and loss in one graph, at its first call with each shape of batch.

    Args:
        backend: torch's compiler; others than "inductor" are for tests.
    """
    allow_graphs(GRAPHS)
    function: Objective = torch.compile(objective, dynamic=False, backend=backend)
    return function
