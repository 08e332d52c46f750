"""Panels: the pictures by which a person judges a network while it trains."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from crrn.files import write_atomically
from crrn.image.picture import to_picture
from crrn.layers import Layers
from crrn.metrics import psnr, ssim
from crrn.mixing import Mixture
from crrn.training.modules import StageTraining
from crrn.training.validation import SETS

NAMES = dict(zip(SETS, ("panel", "pairs"), strict=True))
"""The file name of each validation set's panels, and their name in W&B."""
HEADER, GAP = 22, 4
CELL_WIDTH = 224
"""Smaller pictures are enlarged to at least this width, so that a person sees something."""


class Panels(Callback):
    """Draws the first ``images`` of each validation set after each validation: I, B̂, B, R̂, R, dB̂, dB, one a row.

    The columns of layers that the stage does not estimate are left out. Mixtures are written as
    ``panel-epoch0007.png`` and pairs as ``pairs-epoch0007.png`` into ``folder``, and sent to W&B where it is on.

    Args:
        folder: the stage's folder for panels.
        images: rows of a panel.
    """

    def __init__(self, folder: Path | str, images: int = 4) -> None:
        self.folder = Path(folder)
        self.images = images

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows: dict[str, list[list[tuple[str, Tensor]]]] = {prefix: [] for prefix in SETS}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        rows = self._rows[SETS[dataloader_idx]]
        wanted = self.images - len(rows)
        if wanted > 0 and trainer.is_global_zero:
            assert isinstance(pl_module, StageTraining)
            part = batch.rows(slice(wanted))
            with torch.no_grad():
                rows += panel_rows(part, pl_module.estimate(part), pl_module.targets(part))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        if trainer.sanity_checking:
            return
        for prefix, rows in self._rows.items():
            if rows:
                self._write(trainer, NAMES[prefix], draw_panel(rows))

    def _write(self, trainer: L.Trainer, name: str, picture: Image.Image) -> None:
        path = self.folder / f"{name}-epoch{trainer.current_epoch + 1:04d}.png"
        encoded = io.BytesIO()
        picture.save(encoded, "PNG", optimize=True)
        with write_atomically(path) as file:
            file.write(encoded.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [picture], step=None)


def panel_rows(batch: Mixture, estimate: Layers, target: Layers) -> list[list[tuple[str, Tensor]]]:
    """Labelled pictures, (3, H, W) in [0, 1] each, one row a mixture; the estimated background carries its scores."""
    rows = []
    for n in range(len(batch.mixture)):
        row = [(label_identity(batch, n), batch.mixture[n])]
        for sign, field in (("B", "background"), ("R", "reflection"), ("dB", "gradient")):
            estimated, true = getattr(estimate, field), getattr(target, field)
            if estimated is not None:
                known = field != "reflection" or batch.reflection_known is None or bool(batch.reflection_known[n])
                scores = f"  {score(estimated[n], true[n])}" if field == "background" else ""
                row += [(f"{sign} est.{scores}", estimated[n]), (sign if known else f"{sign} unknown", true[n])]
        rows.append([(label, picture.detach().float().clamp(0, 1).cpu()) for label, picture in row])
    return rows


def label_identity(batch: Mixture, n: int) -> str:
    """The mixture's label with the identity's scores."""
    return f"I  {score(batch.mixture[n], batch.background[n])}"


def score(estimate: Tensor, target: Tensor) -> str:
    """``24.1 dB / 0.912``, PSNR and SSIM of one picture (3, H, W)."""
    pair = estimate[None].float().clamp(0, 1), target[None].float()
    return f"{psnr(*pair).item():.1f} dB / {ssim(*pair).item():.3f}"


def draw_panel(rows: Sequence[Sequence[tuple[str, Tensor]]]) -> Image.Image:
    """Lays labelled pictures of one size out as a table."""
    enlarged = -(-CELL_WIDTH // rows[0][0][1].shape[-1])
    height, width = (side * enlarged for side in rows[0][0][1].shape[-2:])
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, len(rows) * (height + HEADER) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for y, row in enumerate(rows):
        for x, (label, picture) in enumerate(row):
            left, top = GAP + x * (width + GAP), y * (height + HEADER)
            pen.text((left, top + 4), label, fill="black", font=font)
            sheet.paste(to_picture(picture).resize((width, height), Image.Resampling.BICUBIC), (left, top + HEADER))
    return sheet
