"""CRRN, the concurrent reflection removal network: GiN and IiN joined (paper Sec. 4.1)."""

from __future__ import annotations

import os

from torch import Tensor

from crrn.image.padding import crop, pad_to_multiple
from crrn.layers import Layers
from crrn.nets.gin import MULTIPLE, GiN
from crrn.nets.iin import IiN
from crrn.nets.network import Network


class CRRN(Network):
    """From a mixture to background, reflection and the background's gradient, in one pass.

    GiN's decoder features guide every level of IiN. Both parts are trained together, nothing is detached between them.

    Args:
        width: factor of every channel count; 1.0 is the paper's network, 59.8 M parameters.
        encoder_weights: "imagenet", a path, or None for a random encoder; see `crrn.nets.vgg.VGG16`.

    Raises:
        ConfigError: the width is not positive.
        WeightsError: the encoder weights cannot be had or do not fit.
    """

    estimates = Layers._fields

    def __init__(self, width: float = 1.0, encoder_weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.config = {"architecture": "crrn", "width": float(width)}
        self.gin = GiN(width)
        self.iin = IiN(width, encoder_weights, gradient_features=True)

    def stages(self) -> dict[str, Network]:
        """GiN alone, then the whole network (paper Sec. 4.3)."""
        return {"gin": self.gin, "joint": self}

    def forward(self, mixture: Tensor) -> Layers:
        """Estimate all three layers.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1; padded once, by reflection, to a multiple of 32 (our
                choice).

        Returns:
            Layers of the mixture's size and dtype. Before any training the background is the mixture itself.
        """
        height, width = mixture.shape[-2:]
        mixture = pad_to_multiple(mixture, MULTIPLE)
        gradient, features = self.gin.infer(mixture)
        background, reflection = self.iin.infer(mixture, features)
        return Layers(*(crop(layer, height, width) for layer in (background, reflection, gradient)))
