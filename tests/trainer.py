"""A stand-in for Lightning's trainer, for tests of the DataModule alone."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from crrn.data import MixtureDataModule


def at(data: MixtureDataModule, batch: int = 0, rank: int = 0, world_size: int = 1) -> MixtureDataModule:
    """Stand in for a trainer that has trained on `batch` batches."""
    progress = SimpleNamespace(total=SimpleNamespace(processed=batch))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        global_rank=rank,
        world_size=world_size,
        num_devices=1,
        training=True,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data
