"""The per-image table: how each validation mixture fared, to sort and to look at in W&B."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from crrn.image.picture import to_picture
from crrn.layers import Layers
from crrn.metrics import psnr, si, ssim
from crrn.mixing import Mixture
from crrn.training.modules import StageTraining

METRICS = {"ssim": ssim, "si": si, "psnr": psnr}
PICTURES = ("mixture", "estimate", "truth")


class ImageTable(Callback):
    """Sends W&B a table after a stage's last validation: a row for each validation mixture, with the pictures of
    mixture, estimate and truth and the metrics of the estimate and of the identity.

    The layer is the background, or the gradient where only that is estimated. Does nothing without W&B.
    """

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows: list[list[Any]] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not wandb_loggers(trainer) or trainer.current_epoch + 1 != trainer.max_epochs:
            return
        assert isinstance(outputs, Layers) and isinstance(pl_module, StageTraining)
        estimate, target, identity = compared(pl_module, batch, outputs)
        values = [
            metric(image.float().clamp(0, 1), target.float()).tolist()
            for image in (estimate, identity)
            for metric in METRICS.values()
        ]
        numbers = trainer.datamodule.latest.tolist()  # type: ignore[attr-defined]
        for n, number in enumerate(numbers):
            pictures = [to_picture(layer[n].float()) for layer in (batch.mixture, estimate, target)]
            self._rows.append([number, *pictures, *(column[n] for column in values)])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not wandb_loggers(trainer) or trainer.current_epoch + 1 != trainer.max_epochs:
            return
        rows = gathered(self._rows, trainer.is_global_zero)
        if not trainer.is_global_zero:
            return
        import wandb

        columns = ["number", *PICTURES, *METRICS, *(f"identity {name}" for name in METRICS)]
        data = [
            [
                value if column not in PICTURES else wandb.Image(value)
                for column, value in zip(columns, row, strict=True)
            ]
            for row in sorted(rows, key=lambda row: row[0])
        ]
        for logger in wandb_loggers(trainer):
            logger.log_table("images", columns=columns, data=data)


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
