"""The formation models, from ready uint8 photos to mixtures, against the field's way of the same; part of ``input``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from crrn.bench import peer_mixing, peers
from crrn.bench.bench import Bench
from crrn.bench.race import Contestant
from crrn.data.batch import Batch, Sample, TwoPhotos, collate, form
from crrn.image.picture import Pixels
from crrn.mixing import Mixture, PhotoMixing
from crrn.mixing.operations import blurred, power, shifted

FIELD, OURS, KORNIA = "the field's way", "crrn", "kornia"
TARGETS = {"CEILNetMixing": 20.0}
"""How many times as fast as the field's way a model should be; the others: 10."""

TOLERANCES = {"GammaMixing": 3e-3}
"""How much a layer may differ on average: the field crops the vignette at whole pixels. The others: 1e-4."""


def race_models(bench: Bench, mixing: PhotoMixing, photos: Sequence[tuple[Pixels, Pixels]]) -> None:
    """Races each model of a choice against the field's way, then the choice against its models, and kornia's
    operations against crrn's.

    Args:
        bench: takes the times.
        mixing: the choice; a model of the user's own has no field's way and runs in the choice alone.
        photos: the photos of a batch, uint8 (H, W, 3).
    """
    height, width = photos[0][0].shape[:2]
    where = f"ready photos to mixtures of {height}x{width}"
    for name, model in mixing.models.items():
        kind = type(model).__name__
        if kind not in peer_mixing.MODELS:
            continue
        rng = np.random.default_rng(2018)
        drawn = [dict(model.draw(rng)) for _ in photos]
        bench.race(
            f"mixing={name}, {where}",
            {FIELD: partial(field_mix, kind, photos, drawn), OURS: partial(form, ready(photos, drawn), model)},
            reference=FIELD,
            tolerance=TOLERANCES.get(kind, 1e-4),
            difference=mean_difference,
            targets={OURS: TARGETS.get(kind, 10.0)},
            items=len(photos),
            unit="sample",
            cpu_time=True,
        )
    # a choice splits its batch: as many rows as a training's batch has by default
    _race_choice(bench, mixing, [*photos, *photos], where)
    _race_kornia(bench, len(photos), height, width)


def _race_choice(bench: Bench, mixing: PhotoMixing, photos: Sequence[tuple[Pixels, Pixels]], where: str) -> None:
    """The choice's time as a multiple of the mean of its models' times, weighted by their shares of the batch."""
    rng = np.random.default_rng(2018)
    drawn = [dict(mixing.draw(rng)) for _ in photos]
    contestants: dict[str, Contestant] = {"photo": partial(form, ready(photos, drawn), mixing)}
    shares = np.bincount(np.array([one["model"] for one in drawn]), minlength=len(mixing.models)) / len(photos)
    chosen = {name: share for name, share in zip(mixing.models, shares, strict=True) if share}
    for name in chosen:
        own = [{key.removeprefix(f"{name}."): one[key] for key in one if key.startswith(f"{name}.")} for one in drawn]
        contestants[name] = partial(form, ready(photos, own), mixing.models[name])
    times = bench.race(
        f"mixing=photo beside its models, {where}",
        contestants,
        reference="photo",
        tolerance=0,
        incomparable=list(chosen),
        items=len(photos),
        unit="sample",
        cpu_time=True,
    )
    parts = sum(share * np.array(times.seconds[name]) for name, share in chosen.items())
    ratios = np.array(times.seconds["photo"]) / parts
    bench.figure(f"mixing=photo, {where}: time", ratios.tolist(), "weighted means of its models", at_most=1.5)


def _race_kornia(bench: Bench, batch: int, height: int, width: int) -> None:
    """Operations of the models that kornia has too, with a strength of its own for each image."""
    import kornia

    rng = torch.Generator().manual_seed(2018)
    images = torch.rand(batch, 3, height, width, generator=rng)
    sigma = 2 + 3 * torch.rand(batch, generator=rng)
    vector = 8 * torch.randn(batch, 2, generator=rng)
    exponent = 1.8 + torch.rand(batch, generator=rng)
    operations: dict[str, dict[str, Contestant]] = {
        "blurred by a Gaussian": {
            KORNIA: lambda: kornia.filters.gaussian_blur2d(images, (11, 11), sigma[:, None].expand(-1, 2)),
            OURS: lambda: blurred(images, sigma, 5),
        },
        "shifted by a vector": {
            KORNIA: lambda: kornia.geometry.translate(images, vector, padding_mode="border"),
            OURS: lambda: shifted(images, vector),
        },
        "raised to a power": {
            KORNIA: lambda: kornia.enhance.adjust_gamma(images, exponent),
            OURS: lambda: power(images, exponent.view(-1, 1, 1, 1)),
        },
    }
    for name, contestants in operations.items():
        bench.race(
            f"each of {batch} images of {height}x{width} {name} of its own",
            contestants,
            reference=KORNIA,
            tolerance=2e-4,
            targets={OURS: 1.0},
            items=batch,
            cpu_time=True,
        )


def ready(photos: Sequence[tuple[Pixels, Pixels]], drawn: Sequence[dict[str, Any]]) -> Batch:
    """The batch that the loader gives for these photos and parameters."""
    rows = [Sample(TwoPhotos(*pair, one), k, []) for k, (pair, one) in enumerate(zip(photos, drawn, strict=True))]
    batch = collate(rows)
    assert isinstance(batch, Batch)
    return batch


def field_mix(kind: str, photos: Sequence[tuple[Pixels, Pixels]], drawn: Sequence[dict[str, Any]]) -> Mixture:
    """A batch of mixtures in the field's way, sample by sample."""
    samples = [peer_mixing.synthesise(kind, *pair, one) for pair, one in zip(photos, drawn, strict=True)]
    return Mixture(*peers.batch(samples))


def mean_difference(first: Mixture, second: Mixture) -> float:
    """The largest of the layers' mean absolute differences."""
    return max(float((a - b).abs().mean()) for a, b in zip(first[:3], second[:3], strict=True))
