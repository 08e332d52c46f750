"""The contract of every learned remover: what training asks of it besides its layers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from crrn.image.gradient import gradient_magnitude
from crrn.layers import Layers, Remover


class Network(Remover):
    """A learned remover: it names the stages in which it is trained, and what each of them trains.

    Attributes:
        monitor: the validation metric, higher is better, by which the best of its checkpoints is known.
    """

    monitor: ClassVar[str] = "val/background_ssim"

    def stages(self) -> dict[str, Network]:
        """The parts that are trained one after the other, by the name of their stage, in order.

        Each is the network or a network inside it; training a part trains all its parameters and no other.
        """
        return {"joint": self}

    def training_forward(self, mixture: Tensor, background: Tensor) -> Layers:
        """The estimate in training and in validation: the network's own, unless it trains with the truth as an input.

        Args:
            mixture, background: (N, 3, H, W) in [0, 1]; the second is what the first is to be freed to.
        """
        return self(mixture)

    @staticmethod
    def gradient_of(image: Tensor) -> Tensor:
        """What ``Layers.gradient`` means in this network, of an image (N, 3, H, W): here the Sobel magnitude."""
        return gradient_magnitude(image)
