"""The per-image table: how each validation mixture fared, to sort and to look at in W&B."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from crrn.image.picture import to_picture
from crrn.layers import Layers
from crrn.metrics import gains, matched_gains, quality
from crrn.mixing import Mixture
from crrn.training.background import background
from crrn.training.early_stopping import is_last, may_be_last
from crrn.training.stage_training import StageTraining
from crrn.training.validation import SETS

NAMES = dict(zip(SETS, ("images", "pairs"), strict=True))
"""The table of each validation set."""
PICTURES = ("mixture", "estimate", "truth")


class ImageTable(Callback):
    """Sends W&B a table of each validation set after a stage's last validation.

    A row has the pictures of mixture, estimate and truth, the metrics of the estimate and of the identity, and the
    gains of the background. The layer is the background, or the gradient if the network estimates only that. Without
    W&B this callback does nothing.
    """

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {prefix: [] for prefix in SETS}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not wandb_loggers(trainer) or not may_be_last(trainer):
            return
        assert isinstance(outputs, Layers) and isinstance(pl_module, StageTraining)
        estimate, target, identity = compared(pl_module, batch, outputs)
        scores = quality(estimate, target), quality(identity, target)
        columns = {**scores[0], **{f"identity {name}": values for name, values in scores[1].items()}}
        if outputs.background is not None:
            columns |= {**gains(*scores), **matched_gains(estimate, identity, target)}
        lists = {name: values.tolist() for name, values in columns.items()}
        numbers = trainer.datamodule.latest.tolist()  # type: ignore[attr-defined]
        for n, number in enumerate(numbers):
            pictures = [to_picture(layer[n].float()) for layer in (batch.mixture, estimate, target)]
            self._rows[SETS[dataloader_idx]].append(
                {
                    "number": number,
                    **dict(zip(PICTURES, pictures, strict=True)),
                    **{name: values[n] for name, values in lists.items()},
                }
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not wandb_loggers(trainer) or not is_last(trainer):
            return
        for prefix in SETS:
            rows = gathered(self._rows[prefix], trainer.is_global_zero)
            if rows:
                rows.sort(key=lambda row: row["number"])
                background(trainer)(partial(send, trainer, NAMES[prefix], rows))


def send(trainer: L.Trainer, name: str, rows: list[dict[str, Any]]) -> None:
    """Logs a table; all rows have the same columns."""
    import wandb

    columns = list(rows[0])
    data = [[wandb.Image(row[key]) if key in PICTURES else row[key] for key in columns] for row in rows]
    for logger in wandb_loggers(trainer):
        logger.log_table(name, columns=columns, data=data)


def gathered(rows: list[Any], main: bool) -> list[Any]:
    """The rows of all devices, on the main process; nothing on the others."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    shares: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
    dist.gather_object(rows, shares if main else None)
    return [row for share in shares for row in share]


def compared(module: StageTraining, batch: Mixture, estimate: Layers) -> tuple[Any, Any, Any]:
    """Estimate, truth and identity of the background, or else of its gradient."""
    layer = "background" if estimate.background is not None else "gradient"
    identity = module.targets(Mixture(batch.mixture, batch.mixture, batch.reflection))
    return getattr(estimate, layer), getattr(module.targets(batch), layer), getattr(identity, layer)


def wandb_loggers(trainer: L.Trainer) -> list[WandbLogger]:
    """The run's W&B loggers; those of the other ranks write nothing."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
