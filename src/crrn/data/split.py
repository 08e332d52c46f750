"""What trains and what is held out, and the two datasets that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crrn.data.banks import PairBank
from crrn.data.dataset import SampleDataset
from crrn.data.pairs import PairSource
from crrn.data.photos import PhotoBank
from crrn.data.plan import UNCHANGED, Augmentation, Geometry, MixingPlan, PairPlan, PairRecipe, Size
from crrn.data.settings import Batches, Sources, Validation
from crrn.data.sources import PhotoSource
from crrn.errors import DataError
from crrn.mixing.model import Mixing

VALIDATION_SEED = 2018
"""The validation mixtures are the same in every run, whatever its seed."""


class Part(NamedTuple):
    """The photos and pairs of one of the two sets."""

    background: list[Path]
    reflection: list[Path]
    pairs: PairSource | None


def split_sources(
    background: PhotoSource,
    reflection: PhotoSource,
    pairs: PairSource | None,
    sources: Sources,
    validation: Validation,
) -> tuple[Part, Part]:
    """What trains, and what is held out; no photo or scene is in both.

    Raises:
        DataError: a photo trains in one source and is held out in the other.
    """
    trained, reflections = background.split(sources.held_out), reflection.split(sources.held_out)
    # Two sources that share photos hold out the same ones, unless they have fixed sets of their own.
    shared = {*trained[0], *reflections[0]} & {*trained[1], *reflections[1]}
    if shared:
        raise DataError(
            f"{min(shared)} trains in one source and is held out in the other: use the same source for "
            "data.background and data.reflection, or sources without common photos."
        )
    if pairs is None:
        return Part(trained[0], reflections[0], None), Part(trained[1], reflections[1], None)
    training, held_out = pairs.split(sources.held_out, validation.pair_scenes)
    return (
        Part(trained[0], reflections[0], training),
        Part(trained[1], reflections[1], held_out.at_most(validation.pairs_per_scene)),
    )


def counts(
    background: PhotoSource, reflection: PhotoSource, training: Part, held_out: Part
) -> dict[str, dict[str, Any]]:
    """The sources' names and how many photos, pairs and scenes train, are held out, and are left out."""

    def of(source: PhotoSource, trained: list[Path], kept: list[Path]) -> dict[str, Any]:
        used, held = len(trained), len(kept)
        return {
            "source": source.name,
            "training": used,
            "held_out": held,
            "left_out": len(source.files) - used - held,
        }

    found = {
        "background": of(background, training.background, held_out.background),
        "reflection": of(reflection, training.reflection, held_out.reflection),
    }
    if training.pairs is not None and held_out.pairs is not None:
        found["pairs"] = {
            "training": len(training.pairs.pairs),
            "training scenes": len(training.pairs.scenes()),
            "held out": len(held_out.pairs.pairs),
            "held-out scenes": len(held_out.pairs.scenes()),
        }
    return found


def training_set(
    part: Part, mixing: Mixing, seed: int, sources: Sources, batches: Batches, cache: bool
) -> SampleDataset:
    """The samples to train on, augmented."""
    sizes, scale = batches.parsed_sizes(), batches.scale
    canonical = (max(height for height, _ in sizes), max(width for _, width in sizes))
    if scale is not None:  # the smallest crop then still has the pixels of a batch
        canonical = (round(canonical[0] / scale[0]), round(canonical[1] / scale[0]))
    augmentation = Augmentation(scale, batches.rotate, batches.flip)
    pair_plan = None
    if part.pairs is not None:
        scenes = [pair.scene for pair in part.pairs.pairs]
        pair_plan = PairPlan(seed, scenes, sources.pair_sampling == "scene", augmentation, sources.pair_jitter)
    plan = MixingPlan(
        seed, part.background, part.reflection, mixing.draw, sizes, augmentation, _uses_pair(mixing), pair_plan
    )
    match_tone = sources.pair_tone == "match"
    return _dataset(part, plan, pair_plan, canonical, cache, scale is None, match_tone, sources.on_corrupt)


def validation_set(part: Part, mixing: Mixing, size: Size, cache: bool, on_corrupt: str) -> SampleDataset:
    """The held-out samples, whole and as they are."""
    fixed = None if part.pairs is None else PairPlan(VALIDATION_SEED, [pair.scene for pair in part.pairs.pairs])
    plan = MixingPlan(
        VALIDATION_SEED,
        part.background,
        part.reflection,
        mixing.draw,
        [size],
        UNCHANGED,
        _uses_pair(mixing),
        fixed,
    )
    return _dataset(part, plan, whole_pair, size, cache, True, False, on_corrupt)


def whole_pair(epoch: int, k: int) -> PairRecipe:
    """Pair number k as it is, for validation."""
    return PairRecipe(k, Geometry(), np.ones(3, np.float32))


def _dataset(
    part: Part,
    plan: MixingPlan,
    pair_plan: Callable[[int, int], PairRecipe] | None,
    canonical: Size,
    cache: bool,
    squeeze: bool,
    match_tone: bool,
    on_corrupt: str,
) -> SampleDataset:
    background = PhotoBank(part.background, canonical, cache, squeeze)
    same = part.reflection == part.background
    reflection = background if same else PhotoBank(part.reflection, canonical, cache, squeeze)
    pairs = None if part.pairs is None else PairBank(part.pairs, canonical, cache, squeeze, match_tone)
    return SampleDataset(plan, background, reflection, pair_plan, pairs, on_corrupt)


def _uses_pair(mixing: Mixing) -> Any:
    return getattr(mixing, "uses_pair", None)
