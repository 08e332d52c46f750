"""How much memory there is, and how much a remover takes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import torch
from torch import nn

from crrn.solvers.solver import Solver

BYTES_PER_PIXEL = {
    "identity": 30.0,
    "yl19": 110.0,
    "lb14": 210.0,
    "nr17": 160.0,
    "ws16": 1000.0,
}
"""Peak of a solver beyond its input."""

NETWORK = {"gin": (50.0, 1500.0), "iin": (60.0, 1700.0), "crrn": (60.0, 1900.0), "ceilnet": (60.0, 1900.0)}
"""Of a network, beyond its weights and input: (a, b) of a + b * width bytes per pixel."""

ASSUMED = 8 << 30
"""Available, where the system does not tell."""


def bytes_per_pixel(remover: nn.Module) -> float:
    """The peak of a remover's forward pass on one image, in bytes per pixel beyond its weights and the image.

    Measured, not derived: the growth of a fresh process's resident memory over one pass in float32 on a CPU, at
    512x512 and 1024x1024 pixels, the larger of both, rounded up; for networks at widths 0.25 and 1, which a line
    joins. bfloat16, channels_last and a GPU take less. A test measures again. A remover that is not in the tables is
    taken for the hungriest network at width 1.
    """
    if isinstance(remover, Solver):
        return BYTES_PER_PIXEL.get(type(remover).__name__.lower(), max(BYTES_PER_PIXEL.values()))
    config = getattr(remover, "config", {})
    fixed, growing = NETWORK.get(str(config.get("architecture")), NETWORK["crrn"])
    return fixed + growing * float(config.get("width", 1.0))


def available(device: torch.device) -> int:
    """Bytes that a process could still take: free memory of the GPU, or of the machine within its container's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    free = ASSUMED
    if sys.platform == "linux":
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
    return free


def used(device: torch.device) -> int:
    """Bytes that this process takes now: on the GPU, or resident in the machine's memory."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 30
