"""Panels: the pictures by which a person judges a network while it trains."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
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
from crrn.training.background import Reading, background
from crrn.training.rundir import stage_folder
from crrn.training.stage_training import StageTraining
from crrn.training.validation import SETS

NAMES = dict(zip(SETS, ("panel", "pairs"), strict=True))
"""The file name of each validation set's panels, and their name in W&B."""
HEADER, GAP = 22, 4
CELL_WIDTH = 224
"""Smaller pictures are enlarged to at least this width, so that a person sees something."""


class Panels(Callback):
    """Draws the first ``images`` of each validation set after each validation: I, B̂, B, R̂, R, dB̂, dB, one a row.

    The columns of layers that the stage does not estimate are left out. The pictures are the validation's own
    estimates, drawn beside the training. Mixtures are written as
    ``panels/panel-epoch0007.png`` and pairs as ``panels/pairs-epoch0007.png`` into the stage's
    folder, and sent to W&B where it is on.

    Args:
        images: rows of a panel.
    """

    folder: Path

    def __init__(self, images: int = 4) -> None:
        self.images = images

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.folder = stage_folder(trainer, pl_module) / "panels"

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._parts: dict[str, list[Reading]] = {prefix: [] for prefix in SETS}
        self._count = dict.fromkeys(SETS, 0)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        prefix = SETS[dataloader_idx]
        part = slice(self.images - self._count[prefix])
        if part.stop > 0 and trainer.is_global_zero:
            assert isinstance(pl_module, StageTraining) and isinstance(outputs, Layers)
            estimate, target = (
                Layers(*(None if layer is None else layer[part] for layer in layers))
                for layers in (outputs, pl_module.targets(batch))
            )
            self._parts[prefix].append(Reading((batch.rows(part), estimate, target)))
            self._count[prefix] += min(part.stop, len(batch.mixture))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        if trainer.sanity_checking:
            return
        for prefix, parts in self._parts.items():
            if parts:
                path = self.folder / f"{NAMES[prefix]}-epoch{trainer.current_epoch + 1:04d}.png"
                background(trainer)(partial(self._write, trainer, path, NAMES[prefix], parts))

    def _write(self, trainer: L.Trainer, path: Path, name: str, parts: Sequence[Reading]) -> None:
        with torch.no_grad():
            picture = draw_panel([row for part in parts for row in panel_rows(*part.get())])
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
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
