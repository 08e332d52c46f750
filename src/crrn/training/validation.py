"""The metrics of a stage's validation, and their names. `monitor` can be any of them.

There are two sets: held-out mixtures (``val/...``) and, if the data has pairs, held-out scenes of them (``pairs/...``).
Both have ``<row>_<metric>``, such as ``val/background_ssim`` and ``val/identity_background_ssim``. For the background,
they also have the gain over the identity, such as ``pairs/matched_gain_psnr`` and ``pairs/harm_rate``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from crrn.errors import ConfigError
from crrn.layers import Layers
from crrn.metrics.gain import GAINS, HARM_RATE, MATCHED_GAINS, gains, matched_gains
from crrn.metrics.mean import ImageMeans
from crrn.metrics.quality import QUALITY, quality

SETS = ("val", "pairs")
"""Prefix of each set's metrics, in the order of the data's loaders."""

IDENTITY = ("identity_background", "identity_gradient")
"""Rows of the identity (output = input): the mixture as background, and its gradient as the background's."""

GAIN = "gain"
"""The row whose metrics carry no row's name."""


class Validation(nn.Module):
    """The means over one validation set, on any number of devices."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleDict({row: ImageMeans(QUALITY) for row in (*Layers._fields, *IDENTITY)})
        self.rows[GAIN] = ImageMeans((*GAINS, *MATCHED_GAINS))

    def update(self, estimate: Layers, target: Layers, identity: Layers, known: Tensor | None) -> None:
        """Adds a batch.

        Args:
            estimate: what the network estimates; what it does not is left out.
            target: the truth, of the same shapes.
            identity: the mixture as background and its gradient, where these are estimated.
            known: (N,) bool, whose reflection is known; None: all.
        """
        for layer in Layers._fields:
            image, truth, base = (getattr(layers, layer) for layers in (estimate, target, identity))
            if image is None:
                continue
            values = quality(image, truth)
            self._row(layer).update(values, known if layer == "reflection" else None)
            if base is None:
                continue
            before = quality(base, truth)
            self._row(f"identity_{layer}").update(before)
            if layer == "background":
                self._row(GAIN).update({**gains(values, before), **matched_gains(image, base, truth)})

    def compute(self) -> dict[str, Tensor]:
        """The means of all batches, which are then forgotten, float32 each."""
        values: dict[str, Tensor] = {}
        for row in self.rows:
            means = self._row(row)
            if means.update_called:
                prefix = "" if row == GAIN else f"{row}_"
                values |= {f"{prefix}{metric}": value.float() for metric, value in means.compute().items()}
                means.reset()
        return values

    def _row(self, name: str) -> ImageMeans:
        means = self.rows[name]
        assert isinstance(means, ImageMeans)
        return means


def metric_names(estimates: Sequence[str]) -> list[str]:
    """What the validation of a network gives for each set, of which a monitor can be any.

    Args:
        estimates: the layers that the network estimates.
    """
    names = [f"{layer}_{metric}" for layer in estimates for metric in QUALITY]
    return [*names, *GAINS, *MATCHED_GAINS] if "background" in estimates else names


def refuse_unknown_metric(estimates: Sequence[str], network: str, monitor: str, setting: str) -> None:
    """Raises a ConfigError for a metric that no validation of the network will give, before anything is trained."""
    prefix, _, name = monitor.partition("/")
    if prefix not in SETS or name not in metric_names(estimates):
        raise ConfigError(
            f"{setting}={monitor} is not a metric of {network}; choose one of "
            f"{', '.join(f'{SETS[0]}/{known}' for known in metric_names(estimates))}, or with pairs the same of "
            f"{SETS[1]}/."
        )


def refuse_missing_pairs(monitor: str, data: Any, setting: str) -> None:
    """Raises a ConfigError for a metric of the pairs where the data has none.

    Args:
        data: a data module; it has pairs where ``val_dataloader()`` gives two loaders.
    """
    if monitor.startswith(f"{SETS[1]}/") and not isinstance(data.val_dataloader(), list | tuple):
        raise ConfigError(
            f"{setting}={monitor} needs pairs, and the data has none: give data.sources.pairs=[DIR], or choose "
            f"{SETS[0]}/{monitor.partition('/')[2]}."
        )


def lower_is_better(monitor: str) -> bool:
    """Whether a metric is better where it is lower: the harm rate is; all others are better where they are higher."""
    return monitor.endswith(f"/{HARM_RATE}")


def is_better(monitor: str, value: float, than: float | None) -> bool:
    """Whether a value of a metric is better than another; each number is better than None, and NaN is never better."""
    if than is None:
        return not math.isnan(value)
    return value < than if lower_is_better(monitor) else value > than
