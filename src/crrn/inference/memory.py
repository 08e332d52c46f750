"""How much memory there is, and how much a remover takes."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path

import torch
from torch import nn

from crrn.errors import ConfigError
from crrn.nets import estimate
from crrn.private import peak_of_tensors
from crrn.ranks import processes_here
from crrn.solvers import SOLVERS

BYTES_PER_PIXEL = {
    "identity": 24.0,
    "yl19": 105.0,
    "lb14": 215.0,
    "nr17": 290.0,
    "ws16": 520.0,
}
"""Peak of a solver beyond its input; both its layers are in it."""

TILE = 256
"""Side of the image on which the peak of a remover that does not know it is measured."""

UNSEEN = 1.5
"""Factor for what kernels take beside the tensors that are counted."""

SCRATCH = 10**8
"""Bytes that the allocator and the kernels take beside that, whatever the image's size: up to 0.06 GB were seen."""

ASSUMED = 8 << 30
"""Available, where the system does not tell."""


def bytes_per_pixel(remover: nn.Module) -> float:
    """The peak of a remover's forward pass on one image, in bytes per pixel beyond its weights and the image.

    For solvers and crrn's networks (`crrn.nets.network.bytes_by_width`) it is a constant. It was measured as the growth
    of a fresh process's resident memory over one float32 pass on a CPU. The constant is the largest value of the sizes
    from 256x256 to 2000x1500, rounded up. YL19 takes at most 105, LB14 168 to 215, NR17 285, WS16 476 to 518. bfloat16
    takes less. A test measures again. For other removers the live tensors are counted in one pass over a tile.
    """
    known: float | None = getattr(remover, "bytes_per_pixel", None) or vars(remover).get("crrn_bytes_per_pixel")
    if known is None and type(remover) in SOLVERS.values():
        known = BYTES_PER_PIXEL[type(remover).__name__.lower()]
    if known is None:
        known = vars(remover)["crrn_bytes_per_pixel"] = measured(remover)
    return known


def measured(network: nn.Module) -> float:
    """`bytes_per_pixel` of a network in evaluation mode, from one pass over a tile."""
    state = next(iter([*network.parameters(), *network.buffers()]), torch.zeros(0))
    tile = torch.full((1, 3, TILE, TILE), 0.5, device=state.device)
    with torch.no_grad(), peak_of_tensors() as peak:
        estimate(network, tile)
    return UNSEEN * peak() / TILE**2


def available(device: torch.device) -> int:
    """Bytes that this process could still take: the free memory of the GPU, or of the machine within its container's
    limit. If ``torchrun`` started several processes on it, each counts its part."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free = int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
        return free // -(-processes_here() // torch.cuda.device_count())
    free = ASSUMED
    if platform.system() == "Linux":
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
        free = int(found[1]) * 1024 if found else ASSUMED
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
        ):
            try:
                room = [int((Path("/sys/fs/cgroup") / name).read_text()) for name in (limit, used)]
            except (OSError, ValueError):  # no such kind of container, or no limit
                continue
            free = min(free, max(0, room[0] - room[1]))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return free // processes_here()


def allowed(memory: float | str, device: torch.device) -> float:
    """Bytes that this process may take in all, there, by the setting ``memory``.

    Args:
        memory: a number of GB (1e9 bytes); or "auto", which leaves half of what is free now to others, on a GPU a
            fifth.
        device: where.

    Raises:
        ConfigError: the setting is neither.
    """
    if memory == "auto":
        share = 0.8 if device.type == "cuda" else 0.5
        return used(device) + share * available(device)
    if isinstance(memory, str | bool) or not 0 < memory < math.inf:
        raise ConfigError(f"memory={memory} is not a valid limit: give auto, or a positive number of GB.")
    return float(memory) * 1e9


def used(device: torch.device) -> int:
    """Bytes that this process takes now: on the GPU, or resident in the machine's memory."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    if platform.system() == "Linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 30
