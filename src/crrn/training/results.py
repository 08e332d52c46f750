"""What a stage leaves behind: its weights, and the validation metrics of its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from crrn.errors import CheckpointError
from crrn.files import write_atomically
from crrn.nets import save_network
from crrn.nets.record import find_record
from crrn.nets.state import mismatches
from crrn.nets.weights import read_weights
from crrn.records import read_json
from crrn.training.checkpoints import Checkpoints
from crrn.training.recovery import BEST, LAST
from crrn.training.rundir import WEIGHTS
from crrn.training.stage_training import StageTraining

RESULT = "result.json"
"""The validation metrics of a stage's result; its presence says that the stage is complete."""
RESULTS = {"last": LAST, "best": BEST}
"""The checkpoint that a stage's setting ``result`` names."""


def take_result(module: StageTraining, folder: Path, result: str = "last") -> dict[str, float]:
    """Puts the stage's final weights into its network and returns their validation metrics.

    Both are read from the last or the best checkpoint, not from the trainer's memory. The checkpoint has the averaged
    weights if averaging is on, and is the same if the run was stopped after its last step.

    Raises:
        CheckpointError: there is no best checkpoint, as no validation gave a number.
    """
    if not (folder / RESULTS[result]).exists():
        raise CheckpointError(
            f"{folder} has no {RESULTS[result]}: no validation gave a number for {module.monitor}. Give "
            f"stages.{module.name}.result=last, or trainer.limit_val_batches=null."
        )
    checkpoint = torch.load(folder / RESULTS[result], map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    metrics: dict[str, float] = checkpoint["callbacks"][Checkpoints.__name__]["metrics"]
    return metrics


def take_finished(net: nn.Module, folder: Path) -> dict[str, float]:
    """Puts the weights of a stage that is complete into its network and returns their validation metrics.

    Raises:
        CheckpointError: the weights are another network's.
        RunError: the metrics cannot be read.
    """
    state = read_weights(folder / WEIGHTS)[1]
    wrong = mismatches(net.state_dict(), state)
    if wrong:
        raise CheckpointError(
            f"{folder / WEIGHTS} is of another network than this run's ({len(wrong)} weights differ, {wrong[0]!r} "
            "first): give the settings of net= that the run was started with, or start another by name=NEW."
        )
    net.load_state_dict(state)
    metrics: dict[str, float] = read_json(folder / RESULT, {str: float}, f"remove {folder} to train the stage again")
    return metrics


def write_result(module: StageTraining, folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes a stage's weights, then its metrics."""
    save_part(module.net, folder / WEIGHTS)
    with write_atomically(folder / RESULT, "w") as file:
        json.dump(metrics, file, indent=2)


def save_part(part: nn.Module, path: Path) -> None:
    """Writes the weights of what a stage trained: a network, or a module in one that has no record of its own."""
    if find_record(part) is not None:
        save_network(part, path)
        return
    with write_atomically(path) as file:
        file.write(save({name: value.contiguous() for name, value in part.state_dict().items()}))
