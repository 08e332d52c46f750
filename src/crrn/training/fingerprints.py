"""Fingerprints of mixtures, by which runs on any number of devices can be compared step by step."""

from __future__ import annotations

import hashlib

import lightning.pytorch as L
import torch
from torch import Tensor

from crrn.mixing import Mixture


def step_fingerprint(module: L.LightningModule, batch: Mixture) -> float:
    """A number that stands for the mixtures of a step on all devices, in their order; equal only where every pixel is.

    A 52-bit BLAKE2 digest as a float, which holds it exactly. All ranks must call it together.
    """
    gathered = module.trainer.strategy.all_gather(mixture_digests(batch).to(module.device))
    whole = hashlib.blake2b(gathered.flatten().cpu().numpy().tobytes(), digest_size=8).digest()
    return float(int.from_bytes(whole, "little") >> 12)


def mixture_digests(batch: Mixture) -> Tensor:
    """One 64-bit digest for each row of a batch with all that it holds, int64 (N,)."""
    digests = []
    for n in range(len(batch.mixture)):
        digest = hashlib.blake2b(digest_size=8)
        for field in batch.rows(n):
            if field is not None:
                digest.update(field.contiguous().cpu().numpy().tobytes())
        digests.append(int.from_bytes(digest.digest(), "little", signed=True))
    return torch.tensor(digests)
