"""What a run needs of its device, and how its device computes float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from crrn.errors import ConfigError


def refuse_missing_gpu(trainer: Mapping[str, Any]) -> None:
    """Raises a ConfigError where the trainer's settings ask for a GPU and the machine has none."""
    accelerator = trainer.get("accelerator")
    there = CUDAAccelerator.is_available() or (accelerator == "gpu" and MPSAccelerator.is_available())
    if accelerator in ("gpu", "cuda") and not there:
        raise ConfigError(
            f"trainer.accelerator={accelerator} needs a GPU, and PyTorch finds none: give trainer=default to train on "
            "the CPU, or install a PyTorch that fits the GPU's driver."
        )


def use_tf32(wanted: bool) -> None:
    """Has GPUs compute float32 products and convolutions in TF32, or in full; CPUs compute them in full."""
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    torch.backends.cudnn.allow_tf32 = wanted
