"""CRRN, the concurrent reflection removal network: GiN and IiN joined (paper Sec. 4.1)."""

from __future__ import annotations

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
        encoder_width: the factor for IiN's VGG16 encoder alone; None: `width`. At 1.0 the encoder can start from
            ImageNet weights, whatever the width of the rest.
        head: of GiN, "additive" or "sigmoid"; see `GiN`.

    Raises:
        ConfigError: a width is not positive, or the head is unknown.
    """

    estimates = Layers._fields

    def __init__(self, width: float = 1.0, encoder_width: float | None = None, head: str = "additive") -> None:
        super().__init__()
        self.gin = GiN(width, head)
        self.iin = IiN(width, encoder_width, gradient_features=True)
        self.config = {**self.iin.config, "architecture": "crrn", "head": head}

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
        padded = pad_to_multiple(mixture, MULTIPLE)
        output, features = self.gin.infer(padded)
        background, reflection = self.iin.infer(padded, features)
        background, reflection, output = (crop(layer, height, width) for layer in (background, reflection, output))
        return Layers(background, reflection, self.gin.finish(output, mixture))
