"""Parts of runs that are to be compared: a network without batch statistics, of which several devices compute what one
does, and a compiler."""

from __future__ import annotations

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from crrn.nets import CRRN
from crrn.training import StageTraining


class PlainCRRN(CRRN):
    """CRRN with normalisation over each image's channels instead of over the batch."""

    folds_batch_norm = False

    def __init__(self, width: float = 1.0, encoder_width: float | None = None, head: str = "additive") -> None:
        super().__init__(width, encoder_width, head)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(1, child.num_features))


class CompilerThatChangesNothing(Callback):
    """Has a run with ``compile=true`` traced and split as for torch's compiler, which then takes no minutes."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining) and pl_module.compiled
        pl_module.compile_objective("eager")
