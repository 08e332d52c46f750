"""The machine that a benchmark ran on, and how much memory a process takes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.provenance import is_installed, provenance

PEERS = ("scipy", "scikit-image", "pytorch-msssim", "piq", "xreflection")
"""Packages that contestants come from, beside those that every result names."""


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, and how busy the machine was."""
    import torch  # here, so that a fresh process need not load it

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def circumstances() -> dict[str, Any]:
    """Command, time, commit, versions and machine; without the checkout's changes in full."""
    facts = provenance()
    facts["git"].pop("changes", None)
    facts["versions"] |= {name: metadata.version(name) for name in PEERS if is_installed(name)}
    return {**facts, "machine": machine()}


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function in a process of its own, started anew, and gives its result.

    Nothing of this process (loaded libraries, memory, threads) is there; numbers and plain values go in and out.

    Raises:
        RunError: the process failed; the message holds its error.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(writer, function.__module__, function.__qualname__, arguments))
    process.start()
    writer.close()
    try:
        good, result = reader.recv()
    except EOFError:
        good, result = False, f"it ended without a result (exit code {process.exitcode})"
    process.join()
    if not good:
        raise RunError(f"A process that measures {function.__qualname__}{arguments} failed: {result}.")
    return result


def _call(writer: Any, module: str, name: str, arguments: tuple[Any, ...]) -> None:
    try:
        writer.send((True, getattr(importlib.import_module(module), name)(*arguments)))
    except Exception as error:
        writer.send((False, f"{type(error).__name__}: {error}"))
