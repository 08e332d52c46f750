"""Which checkpoint a stopped run goes on from."""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path

import torch

from crrn.errors import CheckpointError
from crrn.files import write_atomically

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a stage's folder, or None where none was written yet. A torn ``last.ckpt`` is
    removed, lest it take the place of the whole one before it.

    Raises:
        CheckpointError: there are checkpoints, but none of them is whole, or one is a folder.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    torn = [path for path in found if not is_whole(path)]
    whole = [path for path in found if path not in torn]
    if whole:
        if torn:
            if torn[0].is_dir():
                raise CheckpointError(f"{torn[0]} is a folder, not a checkpoint: move it away.")
            log.warning("%s is torn; going on from %s.", torn[0], whole[0])
            if torn[0].name == LAST:
                torn[0].unlink(missing_ok=True)
        return whole[0]
    if found:
        raise CheckpointError(
            f"No checkpoint in {folder} is whole; remove that folder to train the stage again, or name one "
            "with resume=PATH."
        )
    return None


def go_back(folder: Path, checkpoint: Path) -> None:
    """Makes a chosen checkpoint the stage's last one, so that the stage goes on from it after further stops too.

    A ``best.ckpt`` of the time after it is removed: it is not of the training that goes on.

    Raises:
        CheckpointError: it is torn.
    """
    if not is_whole(checkpoint):
        raise CheckpointError(f"{checkpoint} is torn; choose another checkpoint, or go on by resume=auto.")
    if checkpoint.name != LAST:
        with checkpoint.open("rb") as chosen, write_atomically(folder / LAST) as last:
            shutil.copyfileobj(chosen, last)
    best = folder / BEST
    if best.exists() and not (is_whole(best) and best_of(best) == best_of(folder / LAST)):
        best.unlink()


def best_of(checkpoint: Path) -> float | None:
    """The best value of the monitored metric up to a checkpoint."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    best: float | None = state["callbacks"]["Checkpoints"]["best"]
    return best


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is complete: torch writes zip archives, whose checksums tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False
