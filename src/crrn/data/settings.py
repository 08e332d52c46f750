"""The settings of the data, in four blocks: sources, batches, validation, loading."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crrn.data.plan import Size
from crrn.data.scenes import SCENE_PATTERN, scene_form
from crrn.errors import ConfigError

SMALLEST_SIDE = 11
"""The losses and metrics compare windows of this size."""


@dataclass(frozen=True)
class Sources:
    """The photos and the real pairs, and how pairs are drawn.

    Attributes:
        held_out: the share of each source's photos, and of the pairs' scenes, that never train. At least one scene is
            held out. Sources with a fixed held-out set ignore this.
        min_side: the shortest side, in pixels, that a photo may have.
        on_corrupt: "error" stops at a photo that cannot be read or is too small; "skip" leaves it out.
        pairs: folders of real pairs, each with ``blended`` and ``transmission_layer`` (and ``reflection_layer``),
            `crrn.data.PairSource` objects, or benchmarks of `crrn.data.benchmarks`.
        pair_share: the share of pairs in each batch, rounded to whole rows. {progress: share} changes it during a
            stage: with {0: 0.1, 0.7: 0.4} it is 0.4 from 70 % of the stage on.
        pair_sampling: "scene" draws a scene, then one of its photos; "photo" draws each photo equally often.
        pair_tone: "keep" leaves the background as it is. "match" fits its colour to the photo's, so that the network is
            not rewarded for guessing the exposure (our choice, see `crrn.data.tone`).
        pair_jitter: the largest change of both photos' exposure and of each channel's gain, as a share; 0 is none.
        scene_pattern: a regular expression, matched at the start of a file's name. Its first group is the scene. A file
            that does not match is a scene of its own.
    """

    held_out: float = 0.05
    min_side: int = 32
    on_corrupt: str = "error"
    pairs: Sequence[Any] = ()
    pair_share: float | Mapping[float, float] = 0.4
    pair_sampling: str = "scene"
    pair_tone: str = "keep"
    pair_jitter: float = 0.0
    scene_pattern: str = SCENE_PATTERN

    def __post_init__(self) -> None:
        for name, options in (
            ("on_corrupt", ("error", "skip")),
            ("pair_sampling", ("scene", "photo")),
            ("pair_tone", ("keep", "match")),
        ):
            one_of(f"data.sources.{name}", getattr(self, name), options)
        if not 0 < self.held_out < 1:
            raise ConfigError(f"data.sources.held_out={self.held_out:g} is not a share: give a number between 0 and 1.")
        if not isinstance(self.pairs, list | tuple):
            raise ConfigError(
                f"data.sources.pairs={self.pairs} is not a list: give folders, e.g. data.sources.pairs=[DIR]."
            )
        steps = self.share_steps()
        if not all(0 <= at <= 1 and 0 <= share <= 1 for at, share in steps) or steps[0][0] != 0:
            raise ConfigError(
                f"data.sources.pair_share={self.pair_share} is not a share: give a number from 0 to 1, or shares by "
                "progress that start at 0, e.g. {0:0.1,0.7:0.4}."
            )
        if not 0 <= self.pair_jitter < 1:
            raise ConfigError(f"data.sources.pair_jitter={self.pair_jitter:g} is not a share: give e.g. 0.1.")
        scene_form(self.scene_pattern, "data.sources.scene_pattern")

    def share_steps(self) -> list[tuple[float, float]]:
        """(progress, share) in order: each share holds from its progress, in [0, 1], on."""
        if isinstance(self.pair_share, Mapping):
            return sorted((float(at), float(share)) for at, share in self.pair_share.items()) or [(0.0, -1.0)]
        return [(0.0, float(self.pair_share))]

    def share(self, progress: float) -> float:
        """The share of pairs at a progress of the stage, in [0, 1]."""
        return [share for at, share in self.share_steps() if at <= progress][-1]


@dataclass(frozen=True)
class Batches:
    """The content and the size of training batches.

    Attributes:
        batch_size: samples in a step, over all devices (our choice; the paper gives none).
        sizes: "HEIGHTxWIDTH" of the batches (the paper's two). Each batch has one of them, drawn at random (our
            choice).
        samples_per_epoch: the paper's 14,754.
        scale: None squeezes each whole photo to the batch's size, as the paper's experiments do. (low, high) crops a
            window of the batch's aspect ratio. Its sides are U[low, high] times those of the largest such window.
        rotate: the largest angle by which a photo is rotated, in degrees (our choice).
        flip: whether half of the photos are flipped left to right.
        repeat: train on the first N batches again and again, to check that a network can learn at all.
    """

    batch_size: int = 16
    sizes: Sequence[str] = ("96x160", "224x288")
    samples_per_epoch: int = 14754
    scale: Sequence[float] | None = None
    rotate: float = 10.0
    flip: bool = True
    repeat: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.sizes, str) or not self.sizes:
            raise ConfigError(
                f"data.batches.sizes={self.sizes!r} is not a list of sizes: give one or more, e.g. [96x160,224x288]."
            )
        self.parsed_sizes()
        for name in ("samples_per_epoch", "repeat"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"data.batches.{name}={value} leaves nothing to train on: give 1 or more.")
        if self.scale is not None:
            values = tuple(self.scale)
            if len(values) != 2 or not 0.05 <= values[0] <= values[1] <= 1:
                raise ConfigError(
                    f"data.batches.scale={list(values)} is not a range: give [low, high] with 0.05 <= low <= high "
                    "<= 1, or null to squeeze the whole photo."
                )
        if not 0 <= self.rotate <= 180:
            raise ConfigError(f"data.batches.rotate={self.rotate:g} is not an angle in degrees between 0 and 180.")

    def parsed_sizes(self) -> list[Size]:
        """The sizes as (height, width)."""
        return [parse_size("data.batches.sizes", size) for size in self.sizes]

    def per_epoch(self) -> int:
        """Batches in an epoch; the last one is completed with further samples."""
        return -(-self.samples_per_epoch // self.batch_size)


@dataclass(frozen=True)
class Validation:
    """The held-out data, and how it is validated.

    Attributes:
        mixtures: number of held-out mixtures.
        size: "HEIGHTxWIDTH" of all validation images.
        mixing: the formation model of the held-out mixtures; None: the training's.
        pair_scenes: the scenes of the pairs that are held out; None holds out the share ``data.sources.held_out``.
        pairs_per_scene: at most so many photos of each held-out scene; None: all.
    """

    mixtures: int = 64
    size: str = "224x288"
    mixing: Any = None
    pair_scenes: Sequence[str] | None = None
    pairs_per_scene: int | None = None

    def __post_init__(self) -> None:
        if self.mixtures < 1:
            raise ConfigError(f"data.validation.mixtures={self.mixtures} is not a number of mixtures: give 1 or more.")
        if self.pairs_per_scene is not None and self.pairs_per_scene < 1:
            raise ConfigError(f"data.validation.pairs_per_scene={self.pairs_per_scene}: give 1 or more, or null.")
        self.parsed_size()

    def parsed_size(self) -> Size:
        """The size as (height, width)."""
        return parse_size("data.validation.size", self.size)


@dataclass(frozen=True)
class Loading:
    """How photos are read. These settings do not change which samples a batch has.

    Attributes:
        num_workers: worker processes. None means none on a CPU, where a thread makes the next batch during a step. On a
            GPU, None divides the cores among the devices, with at most 8 for each.
        cache: False decodes a photo each time it is needed. True keeps decoded photos in the computer's memory.
            "device" decodes all photos at the start and keeps them in the device's memory. It crops, resizes, flips and
            rotates them there, with results that differ by rounding.
    """

    num_workers: int | None = None
    cache: bool | str = False

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 0:
            raise ConfigError(
                f"data.loading.num_workers={self.num_workers} is not a number of processes: give 0 or more, or null "
                "for the default."
            )
        if self.cache not in (False, True, "device"):
            raise ConfigError(f"data.loading.cache={self.cache!r} is unknown: choose false, true or device.")


def one_of(name: str, value: str, options: Sequence[str]) -> None:
    """Raises a ConfigError unless the setting's value is one of the options."""
    if value not in options:
        raise ConfigError(f"{name}={value!r} is unknown: choose {' or '.join(map(repr, options))}.")


def parse_size(name: str, size: str) -> Size:
    """Read a size "HEIGHTxWIDTH" as (height, width).

    Raises:
        ConfigError: anything else, or a side below the 11 pixels of the losses' window; the message names the setting
            ``name``.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", str(size))
    if match is None:
        raise ConfigError(f"{name}: {str(size)!r} is not a size; give HEIGHTxWIDTH, e.g. 224x288.")
    height, width = int(match[1]), int(match[2])
    if min(height, width) < SMALLEST_SIDE:
        raise ConfigError(
            f"{name}: {size} is too small; the losses need sides of {SMALLEST_SIDE} pixels or more, e.g. 224x288."
        )
    return height, width
