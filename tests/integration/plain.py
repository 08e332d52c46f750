"""A network without batch statistics: what several devices compute of it can equal what one does."""

from __future__ import annotations

from torch import nn

from crrn.nets import CRRN


class PlainCRRN(CRRN):
    """CRRN with normalisation over each image's channels instead of over the batch."""

    folds_batch_norm = False

    def __init__(self, width: float = 1.0, encoder_width: float | None = None, head: str = "additive") -> None:
        super().__init__(width, encoder_width, head)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(1, child.num_features))
