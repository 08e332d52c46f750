"""Each formation model against an independent transcription of its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.unit.mixing import transcriptions
from tests.unit.mixing.draws import draws, layers, stacked

from crrn.mixing import (
    CEILNetMixing,
    FresnelMixing,
    GammaMixing,
    GhostingMixing,
    LinearMixing,
    Mixing,
    PaperMixing,
    ScreenMixing,
    TransferMixing,
)

SMALL, LARGE = (40, 50), (224, 240)

# The tolerances: a shift in float32 is right to 1e-5 of a pixel; x^(1/g) is steep near 0; the vignette is a Gaussian at
# the pixels' centres, the published one its integral over the pixels.
MODELS: list[tuple[Mixing, Callable[..., Any], list[tuple[int, int]], float]] = [
    (PaperMixing(), transcriptions.paper, [SMALL], 1e-6),
    (CEILNetMixing(), transcriptions.ceilnet, [SMALL], 2e-6),
    (ScreenMixing(), transcriptions.screen, [SMALL], 2e-6),
    (GammaMixing(), transcriptions.gamma, [LARGE, LARGE[::-1]], 1e-4),
    (GhostingMixing(), transcriptions.ghosting, [SMALL, LARGE], 2e-5),
    (FresnelMixing(), transcriptions.fresnel, [SMALL], 2e-6),
    (LinearMixing(), transcriptions.linear, [SMALL, LARGE[::-1]], 5e-5),
    (TransferMixing(), transcriptions.transfer, [SMALL], 2e-6),
]


@pytest.mark.parametrize(
    ("model", "transcription", "size", "tolerance"),
    [
        pytest.param(model, transcription, size, tolerance, id=f"{transcription.__name__}-{size[0]}x{size[1]}")
        for model, transcription, sizes, tolerance in MODELS
        for size in sizes
    ],
)
@pytest.mark.parametrize("kind", ["noise", "binary", "dark", "white"])
def test_formula(
    model: Mixing, transcription: Callable[..., Any], size: tuple[int, int], tolerance: float, kind: str
) -> None:
    background, reflection = layers(2, kind, 6, *size)
    made = draws(model, 7, 6)
    for switch in ("blur", "ghost", "region", "screen"):
        assert {one.get(switch, 0) for one in made} in ({0}, {0, 1})  # the draws try a switch both ways
    mixtures = model(background, reflection, stacked(made))
    for i, one in enumerate(made):
        expected = transcription(background[i].double().numpy(), reflection[i].double().numpy(), one)
        for name, layer, wanted in zip(("I", "B", "R"), mixtures[:3], expected, strict=True):
            # x^(1/g) makes 0.001 of 1e-7: what is darker than a quarter of a grey level counts as equal
            got, wanted = np.maximum(layer[i].numpy(), 1e-3), np.maximum(wanted, 1e-3)
            np.testing.assert_allclose(got, wanted, atol=tolerance, rtol=0, err_msg=f"{name} of row {i}")
