"""Where a result comes from: the command, the code, the machine, the packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("crrn", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "kornia", "torchmetrics",
            "albumentations", "opencv-python-headless", "numpy", "pillow", "wandb")  # fmt: skip


def provenance() -> dict[str, Any]:
    """When, where and with what a command was started: command, git state, versions of what the numbers depend on."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_state(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: metadata.version(name) for name in PACKAGES if is_installed(name)},
    }


def git_state() -> dict[str, Any]:
    """Commit and uncommitted changes of the checkout that crrn runs from; empty for a package, and without git."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists() or shutil.which("git") is None:
        return {}

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    changes = git("diff", "HEAD")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain")), "changes": changes}


def is_installed(name: str) -> bool:
    """Whether a distribution is installed."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
