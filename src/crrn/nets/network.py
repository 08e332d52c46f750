"""What crrn asks of a network, and the defaults.

Any `nn.Module` is a network. Its forward pass takes a mixture (N, 3, H, W) in [0, 1]. It returns the background, a pair
(background, reflection), or `crrn.Layers`. All have the mixture's size and are nominally in [0, 1]. A network may also
define:

- ``multiple``: the image's sides must be multiples of it. crrn pads by reflection and crops the result. Default 1.
- ``estimates``: the names of the layers that it returns, of ``Layers._fields``. Default: what it returns of a small
  image.
- ``monitor``: the validation metric that chooses its best checkpoint. Default: the SSIM of the first layer.
- ``stages()``: the parts that are trained one after the other, by the name of their stage. Each is the network or a
  module in it. Default: ``{"joint": network}``.
- ``training_forward(mixture, background)``: its output in training and validation, if it may use the truth there
  (teacher forcing). Default: its forward pass.
- ``gradient_of(image)``: what ``Layers.gradient`` means, of an image (N, 3, H, W). Default: the Sobel magnitude.
- ``folds_batch_norm``: whether each BatchNorm follows its convolution in an `nn.Sequential`, so that prediction and
  export can fold it. Default False.
- ``builds_on_meta``: whether it can be built without memory for its weights: all its buffers are in its state dict, and
  its constructor does not look at values. Default False.
- ``bytes_per_pixel``: peak memory of a forward pass for each pixel, beyond the weights and the image. Default: measured
  on one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError
from crrn.image.gradient import gradient_magnitude
from crrn.image.padding import crop, pad_to_multiple
from crrn.layers import Layers, Remover
from crrn.nets.record import class_name, set_record

PROBE = 64
"""Side of the image on which a network shows what it estimates."""


class Network(Remover):
    """A network of crrn: it says all that it can, see this module. Other networks need not extend it."""

    folds_batch_norm = True
    builds_on_meta = True

    def _set_record(self, cls: type[Network], **settings: Any) -> None:
        """For the end of a constructor: the settings with which it was called, also where no record builds it."""
        set_record(self, cls, settings)


def bytes_by_width(width: float, encoder_width: float = 0.0) -> float:
    """``bytes_per_pixel`` of CRRN and of networks that take less, in float32 with BatchNorm folded.

    Measured: the growth of a fresh process's resident memory over one pass on a CPU, of the sizes between 256x256 and
    2000x1500 the hungriest. With all at width 0.1: up to 200 bytes, at 0.25: 441, at 1 (up to 960x640): 1423. With the
    encoder at width 1 and the rest at 0.1: 575, at 0.25: 636, at 0.5: 794. The line lies a seventh above them.
    """
    return 100.0 + max(1600.0 * width, 600.0 * width + 500.0 * encoder_width)


def estimate(network: nn.Module, mixture: Tensor) -> Layers:
    """The layers of a mixture (N, 3, H, W) in [0, 1], whatever the network returns, of the mixture's size and dtype.

    Raises:
        ConfigError: the network returns something else.
    """
    multiple = getattr(network, "multiple", 1)
    if multiple == 1:
        return as_layers(network(mixture), network, mixture)
    padded = pad_to_multiple(mixture, multiple)
    height, width = mixture.shape[-2:]
    layers = as_layers(network(padded), network, padded)
    return Layers(*(None if layer is None else crop(layer, height, width) for layer in layers))


def training_estimate(network: nn.Module, mixture: Tensor, background: Tensor) -> Layers:
    """The layers in training and validation: those of ``training_forward`` where the network has it.

    Args:
        network: the network.
        mixture, background: (N, 3, H, W) in [0, 1]; the second is the truth.

    Raises:
        ConfigError: as of `estimate`.
    """
    forward: Callable[[Tensor, Tensor], Any] | None = getattr(network, "training_forward", None)
    return estimate(network, mixture) if forward is None else as_layers(forward(mixture, background), network, mixture)


def as_layers(output: Any, network: nn.Module, mixture: Tensor) -> Layers:
    """What a network returned of a mixture, as `Layers` in the mixture's dtype; ConfigError as of `estimate`."""
    if isinstance(output, Tensor):
        layers = Layers(background=output)
    elif isinstance(output, Layers):
        layers = output
    elif isinstance(output, tuple | list) and len(output) == 2:
        layers = Layers(*output)
    else:
        raise ConfigError(
            f"{class_name(type(network))} returns {_kind(output)}: its forward pass must return the background, a pair "
            "(background, reflection), or crrn.Layers."
        )
    return Layers(
        *(
            None if layer is None else _checked(layer, name, network, mixture)
            for name, layer in layers._asdict().items()
        )
    )


def _checked(layer: Tensor, name: str, network: nn.Module, mixture: Tensor) -> Tensor:
    """A layer in the mixture's dtype; a wrong shape is refused, unless the pass is only traced."""
    if not torch.compiler.is_compiling():
        wanted = (len(mixture), 1 if name == "gradient" else 3, *mixture.shape[-2:])
        if tuple(layer.shape) != wanted:
            raise ConfigError(
                f"{class_name(type(network))} returns a {name} of shape {tuple(layer.shape)} where {wanted} is needed: "
                "keep the size in the forward pass, or give the class `multiple = 32`, and crrn pads and crops."
            )
    return layer.to(mixture.dtype)


def estimates_of(network: nn.Module) -> tuple[str, ...]:
    """The names of the layers that a network estimates, of ``Layers._fields``; ConfigError as of `estimate`."""
    known = getattr(network, "estimates", None) or vars(network).get("crrn_estimates")
    if known is None:
        parameter = next(network.parameters(), torch.zeros(0))
        probe = torch.full((1, 3, PROBE, PROBE), 0.5, device=parameter.device, dtype=parameter.dtype)
        modes = {module: module.training for module in network.modules()}
        try:
            with torch.no_grad():
                layers = estimate(network.eval(), probe)
        finally:
            for module, mode in modes.items():
                module.training = mode
        known = tuple(name for name, layer in layers._asdict().items() if layer is not None)
        vars(network)["crrn_estimates"] = known
    return tuple(known)


def monitor_of(network: nn.Module) -> str:
    """The validation metric that chooses a network's best checkpoint."""
    monitor: str | None = getattr(network, "monitor", None)
    return monitor or f"val/{estimates_of(network)[0]}_ssim"


def stages_of(network: nn.Module) -> Mapping[str, nn.Module]:
    """The parts of a network that are trained one after the other, by the name of their stage."""
    stages: Callable[[], Mapping[str, nn.Module]] | None = getattr(network, "stages", None)
    return {"joint": network} if stages is None else stages()


def gradient_of(network: nn.Module, image: Tensor) -> Tensor:
    """What ``Layers.gradient`` of a network means, (N, 1, H, W), of an image (N, 3, H, W)."""
    gradient: Tensor = getattr(network, "gradient_of", gradient_magnitude)(image)
    return gradient


def _kind(output: Any) -> str:
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"
