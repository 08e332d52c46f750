"""The callbacks of a stage, and how often they act."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightning.pytorch.callbacks import Callback

from crrn.errors import ConfigError
from crrn.training.checkpoints import Checkpoints
from crrn.training.curves import Curves
from crrn.training.ema import averaging
from crrn.training.image_table import ImageTable
from crrn.training.panels import Panels
from crrn.training.terminal import ProgressBar, ProgressLines

CallbackFactory = Callable[[], Sequence[Callback | None]]
"""Makes the callbacks of one stage; None stands for one that is turned off."""


@dataclass(frozen=True)
class Logging:
    """What is written while a stage trains.

    Attributes:
        metrics_every_n_steps: optimizer steps between two rows of metrics.csv.
        checkpoint_every_n_steps: optimizer steps between two checkpoints within an epoch; 0: epoch ends only; None: as
            many as take ``checkpoint_every_n_minutes``.
        checkpoint_every_n_minutes: minutes between two checkpoints within an epoch.
        panel_images: validation images in each panel.
        fingerprints: adds a fingerprint of each step's samples to metrics.csv, to compare runs on other devices.

    Raises:
        ConfigError: a value is no whole number, or too small.
    """

    metrics_every_n_steps: int = 20
    checkpoint_every_n_steps: int | None = None
    checkpoint_every_n_minutes: float = 2.0
    panel_images: int = 4
    fingerprints: bool = False

    def __post_init__(self) -> None:
        for name, least in (("metrics_every_n_steps", 1), ("checkpoint_every_n_steps", 0), ("panel_images", 0)):
            value = getattr(self, name)
            if name == "checkpoint_every_n_steps" and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"logging.{name}={value} is not a whole number of {least} or more.")
        minutes = self.checkpoint_every_n_minutes
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < math.inf:
            raise ConfigError(
                f"logging.checkpoint_every_n_minutes={minutes} is not a time: give minutes, e.g. 2; for checkpoints at "
                "epoch ends only give logging.checkpoint_every_n_steps=0."
            )


def standard_callbacks(logging: Logging | None = None, ema_decay: float | None = None) -> CallbackFactory:
    """The callbacks of conf/callbacks/default.yaml."""
    logging = logging or Logging()

    def make() -> Sequence[Callback | None]:
        return [
            averaging(ema_decay),
            Curves(logging.metrics_every_n_steps, logging.fingerprints),
            Panels(logging.panel_images),
            ImageTable(),
            Checkpoints(logging.checkpoint_every_n_steps, logging.checkpoint_every_n_minutes),
            ProgressLines(),
            ProgressBar(),
        ]

    return make
