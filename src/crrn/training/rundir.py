"""The run directory: one folder with everything about a run, from which the run can be resumed.

runs/NAME/
  config.yaml          the resolved config of the first start
  run.json             when, where and with what it was started, and each time it was resumed
  changes.patch        uncommitted changes of the checkout, if any
  init.safetensors     the weights that the run began with, where `init` names any
  gin/  joint/  ...    a folder for each stage: last.ckpt previous.ckpt best.ckpt metrics.csv panels/
  weights.safetensors  the trained network; ``crrn.load`` rebuilds it from this file alone
  summary.json  summary.md
"""

from __future__ import annotations

import copy
import json
import logging
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from filelock import BaseFileLock
from lightning.pytorch.utilities import rank_zero_only

from crrn.claims import claim
from crrn.errors import CheckpointError, RunError
from crrn.files import remove_leftovers, write_atomically
from crrn.provenance import provenance
from crrn.records import read_json

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
INIT = "init.safetensors"
LOCK = ".lock"
MEASURING = ".measuring"
"""The folder in which a run with a budget measures its steps, before it begins."""
FREE_TO_CHANGE = ("resume", "run_root", "trainer", "callbacks", "logger", "hydra", "data.loading", "compile", "tf32")
"""Settings that a resumed run may change without becoming another run."""


class RunDirectory:
    """Opens a run directory for writing.

    Args:
        path: the run's folder.
        resume: None starts a new run. "auto" resumes the run of this directory, or starts it. A path resumes the run
            directory or the checkpoint given.
        config: the resolved config, plain values.
        config_yaml: the same as text.
        writes: whether this process owns the directory. The other ranks of a run on several devices only read it.

    Raises:
        RunError: the folder holds a run and ``resume`` is None, or another process is writing it.
        CheckpointError: ``resume`` names something that is not there.

    Attributes:
        known: the content of ``run.json`` when the directory was opened; None if no run has begun.
        config: the resolved config, with the settings that the run has fixed itself.
        settled: the settings that the run has fixed itself, by their dotted names; None if there are none.
    """

    def __init__(
        self, path: Path | str, resume: str | None, config: dict[str, Any], config_yaml: str, writes: bool = True
    ) -> None:
        self.path = Path(path)
        self.checkpoint = check_resume_path(resume)
        self.writes = writes
        if writes:
            weakref.finalize(self, claim_run(self.path).release)
        known = self.known = self._read()
        self.settled: dict[str, int] | None = known["budget"]["settings"] if known and "budget" in known else None
        config = self.config = with_settings(config, self.settled or {})
        if not writes:
            return
        if known and resume is None:
            raise RunError(
                f"{self.path} already holds a run, started {known['sessions'][0]['started']}; go on with it by "
                "resume=auto, or start another beside it by name=NEW."
            )
        remove_leftovers(self.path)
        session = provenance()
        if known:
            warn_of_changes(known["config"], config)
            self.record = {**known, "sessions": [*known["sessions"], session]}
        else:
            self.record = {"config": config, "sessions": [session]}
            with write_atomically(self.path / "config.yaml", "w") as file:
                file.write(config_yaml)
        changes = session["git"].pop("changes", "")
        if changes:
            with write_atomically(self.path / "changes.patch", "w") as file:
                file.write(changes)
        self._write()

    def note(self, **facts: Any) -> None:
        """Adds facts to ``run.json``, such as the data's fingerprint."""
        if self.writes:
            self.record.update(facts)
            self._write()

    def settle(self, settings: Mapping[str, int], **facts: Any) -> None:
        """Settles settings that the config leaves to the run, once: a resumed run keeps them.

        Args:
            settings: by their dotted names, such as "stages.gin.epochs".
            facts: what they follow from; written beside them.
        """
        self.settled = dict(settings)
        self.config = with_settings(self.config, settings)
        self.note(config=self.config, budget={"settings": self.settled, **facts})

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.path / name

    def checkpoint_for(self, stage: str) -> Path | None:
        """The checkpoint named by ``resume=PATH`` if it belongs to this stage."""
        return self.checkpoint if self.checkpoint and self.checkpoint.parent.name == stage else None

    def _read(self) -> dict[str, Any] | None:
        """The content of ``run.json``, or None if no run has begun.

        A start that ended before its first step, such as one with a wrong setting, leaves nothing to resume.
        """
        path = self.path / "run.json"
        if not path.exists() or not any(self.path.glob("*/metrics.csv")):
            return None
        shape = {
            "config": dict,
            "sessions": [{"started": str}, ...],
            "budget?": {"settings": {str: int}},
            "prediction?": {"working_size": (int, None), "strength": float},
        }
        record: dict[str, Any] = read_json(path, shape, f"move {self.path} away to start anew")
        return record

    def _write(self) -> None:
        with write_atomically(self.path / "run.json", "w") as file:
            json.dump(self.record, file, indent=2, default=str)


def stage_folder(trainer: L.Trainer, module: L.LightningModule) -> Path:
    """The folder of the stage that a trainer trains, in its run directory."""
    return Path(trainer.default_root_dir) / str(getattr(module, "name", ""))


def claim_run(folder: Path) -> BaseFileLock:
    """Claim a run directory for this process: two that resume one run would write over each other's checkpoints.

    Raises:
        RunError: another process holds it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return claim(
            folder / LOCK,
            f"Another process is training {folder} at this moment; wait for its end, stop it, or start another run "
            "beside it by name=NEW.",
        )
    except OSError as error:
        raise RunError(f"Cannot write into {folder}: {error.strerror}; set run_root=DIR.") from error


def check_resume_path(resume: str | None) -> Path | None:
    """The checkpoint file that ``resume`` names, or None where it names a run directory, "auto" or nothing.

    Raises:
        CheckpointError: no run and no checkpoint is there.
    """
    if resume in (None, "auto"):
        return None
    path = Path(str(resume))
    if path.is_file() and (path.parent.parent / "run.json").exists():
        return path
    if path.is_dir() and (path / "run.json").exists():
        return None
    kind = "is not part of a run directory" if path.exists() else "does not exist"
    raise CheckpointError(
        f"resume={resume} {kind}; give a run directory such as runs/NAME, or a checkpoint in it such as "
        "runs/NAME/joint/last.ckpt."
    )


def warn_of_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Says which settings differ from those that the run was started with."""
    old, new = flatten(before), flatten(now)
    changed = [
        key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not key.startswith(FREE_TO_CHANGE)
    ]
    if changed:
        differences = ", ".join(f"{key}: {old.get(key)} -> {new.get(key)}" for key in changed)
        log.warning("The run goes on with other settings than it was started with: %s", differences)


def with_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config with values for dotted keys."""
    copied = copy.deepcopy(dict(config))
    for key, value in settings.items():
        *above, name = key.split(".")
        node = copied
        for part in above:
            node = node.setdefault(part, {})
        node[name] = value
    return copied


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by their dotted keys."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def is_main_process() -> bool:
    """Whether this process is the one of a run on several devices that writes: rank 0, before and after they start."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0
