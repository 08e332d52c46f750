"""Golden values, transcriptions, layers whose assumption holds, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor

from crrn.bench import references
from crrn.errors import ConfigError, DataError
from crrn.layers import Layers
from crrn.metrics.structure import si
from crrn.solvers import LB14, NR17, SOLVERS, WS16, YL19, Identity

FAST = {"identity": {}, "lb14": {}, "nr17": {"beta_max": 0.1, "adam_steps": 20}, "ws16": {"iterations": 1}, "yl19": {}}
"""Options that make each solver quick enough for a test of its contract."""

METHODS = [name for name in SOLVERS if name != "identity"]


def statistics(image: Tensor) -> tuple[float, float, float]:
    """Mean, standard deviation (n - 1) and the value at y = 10, x = 12, c = 1."""
    return image.mean().item(), image.std().item(), image[0, 1, 10, 12].item()


def layers(seed: int, height: int = 72, width: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """A mixture of sharp boxes and a much blurred, weak reflection, with its background and reflection."""
    rng = np.random.default_rng(seed)
    background = np.full((3, height, width), 0.35)
    for _ in range(14):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        background[:, top : top + rng.integers(8, 40), left : left + rng.integers(8, 40)] = rng.uniform(
            0.1, 0.7, (3, 1, 1)
        )
    noise = ndimage.gaussian_filter(rng.random((3, height, width)), (0, 7, 7))
    reflection = 0.25 * (noise - noise.min()) / (noise.max() - noise.min())
    mixture, *parts = (torch.from_numpy(x)[None] for x in (background + reflection, background, reflection))
    return mixture, *parts


# --- golden values: GNU Octave on the published code's maths ---


def test_lb14_golden(golden, monkeypatch):
    solved = []
    split = LB14._split
    monkeypatch.setattr(LB14, "_split", lambda *args: solved.append(split(*args)) or solved[-1])
    background = LB14()(golden).background
    centred = [image - image.mean((2, 3), keepdim=True) for image in solved]
    stds = [image.std().item() for image in centred]
    np.testing.assert_allclose(stds, [0.123326034735, 0.122421211937, 0.121540752207], atol=5e-13)
    assert centred[0][0, 1, 10, 12].item() == pytest.approx(0.043770842686, abs=5e-13)
    assert background.mean().item() == pytest.approx(0.248186612698, abs=5e-13)
    single = LB14()(golden.float()).background
    torch.testing.assert_close(single.double(), background, rtol=0, atol=1e-3)


def test_lb14_zeroes_as_many_differences_as_the_golden_run(golden, monkeypatch):
    import crrn.solvers.lb14 as module

    fields = []
    divergence = module.divergence
    monkeypatch.setattr(module, "divergence", lambda *args: fields.append(args[:2]) or divergence(*args))
    taken = []
    differences = module.differences
    monkeypatch.setattr(module, "differences", lambda *args: taken.append(differences(*args)) or taken[-1])
    LB14()(golden)
    # what is lost is grad I - g: where it is all of grad I, g was zeroed
    whole = module.differences(golden, "circular")
    counts = [[int((part == own).all(1).sum()) for part, own in zip(field, whole, strict=True)] for field in fields]
    assert counts == [[241, 57], [114, 17], [35, 7]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "mean", "std", "value", "tolerance"),
    [
        (1, 0.557562715899, 0.123280743762, 0.603479177202, 1e-12),
        (2, 0.557508163637, 0.121975194151, None, 1e-12),
        (25, 0.5524814, 0.1057032, None, 1e-3),  # Adam amplifies rounding
    ],
)
def test_nr17_golden(golden, steps, mean, std, value, tolerance):
    solver = NR17(beta_max=2 * 0.002 * 2 ** (steps - 0.5))
    assert len(solver.betas) == steps
    for image, allowed in ((golden, tolerance), (golden.float(), 1e-3)):
        found = statistics(solver(image).background)
        assert found[:2] == pytest.approx((mean, std), abs=allowed)
        if value is not None:
            assert found[2] == pytest.approx(value, abs=allowed)


def test_nr17_has_25_outer_steps():
    assert len(NR17().betas) == 25


@pytest.fixture
def edges() -> tuple[Tensor, Tensor]:
    y, x = np.mgrid[:24, :32]
    background, reflection = (x == 12) & (y < 15), (y == 15) & (x > 20)
    return torch.from_numpy(background)[None, None], torch.from_numpy(reflection)[None, None]


@pytest.mark.slow
def test_ws16_golden(golden, edges):
    solver = WS16(published_weights=True, tolerance=1e-9, solver_iterations=5000)
    for image, allowed in ((golden, 5e-8), (golden.float(), 1e-3)):
        reflection = solver.separate(image[:, :1], *edges)[0, 0]
        assert reflection.dtype == image.dtype
        values = [reflection.std(), reflection[10, 12], reflection[19, 29], reflection[0, 0]]
        np.testing.assert_allclose(values, [0.0489137, 0.0374806, 0.0066382, -0.0278340], atol=allowed)


# --- the same as the transcriptions, which solve directly ---


@pytest.mark.slow
def test_ws16_equals_a_direct_solve(golden, edges):
    reflection = WS16(tolerance=1e-9, solver_iterations=5000).separate(golden, *edges)[0]
    for c in range(3):
        expected = references.ws16_separate(golden[0, c].numpy(), *(edge[0, 0].numpy() for edge in edges))
        np.testing.assert_allclose(reflection[c], expected, atol=1e-7)


@pytest.mark.parametrize("name", ["yl19", "lb14"])
def test_equals_the_transcription(name):
    image = layers(0, 50, 61)[0]
    expected = getattr(references, name)(image[0].permute(1, 2, 0).numpy()).transpose(2, 0, 1)
    np.testing.assert_allclose(SOLVERS[name]()(image).background[0], expected, atol=1e-8)


def test_nr17_equals_the_transcription():
    image = layers(0, 20, 31)[0]
    expected = references.nr17(image[0].permute(1, 2, 0).numpy(), beta_max=0.05).transpose(2, 0, 1)
    np.testing.assert_allclose(NR17(beta_max=0.05)(image).background[0], expected, atol=1e-6)


def test_yl19_solves_its_equation_for_any_mu_and_lambda():
    image = layers(1, 9, 11)[0]
    solver = YL19(mu=2.0, lambda_=0.3, epsilon=0.01, threshold=0.05)
    background = solver(image).background.numpy()
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=float)[None, None]

    def laplacian(x: np.ndarray) -> np.ndarray:
        return ndimage.correlate(x, kernel, mode="nearest")

    x = image.numpy()
    dx = np.diff(x, axis=3, append=x[..., -1:])
    dy = np.diff(x, axis=2, append=x[..., -1:, :])
    weak = np.hypot(dx, dy) <= 0.05
    dx[weak], dy[weak] = 0, 0
    divergence = np.diff(dx, axis=3, prepend=0) + np.diff(dy, axis=2, prepend=0)
    left = 2 * laplacian(laplacian(background)) - 0.3 * laplacian(background) + 0.01 * background
    np.testing.assert_allclose(left, laplacian(divergence) + 0.01 * x, atol=1e-10)


@pytest.mark.slow
def test_nr17_closed_form_is_the_minimum_that_adam_goes_to():
    image = layers(2, 16, 20)[0]
    exact = NR17(beta_max=0.005, inner="closed")(image).background
    # one outer step; with the circular border in place of the padded one Adam would reach it: compare the energy
    solver = NR17(beta_max=0.005, adam_steps=3000, learning_rate=1e-4)
    near = solver(image).background
    inside = (slice(None), slice(None), slice(5, -5), slice(5, -5))
    step = (NR17(beta_max=0.005)(image).background - image)[inside].std()
    error = ((near - image) - (exact - image))[inside]
    assert (error - error.mean((2, 3), keepdim=True)).std() < 0.5 * step


# --- the contract ---


@pytest.mark.parametrize("name", SOLVERS)
def test_contract(name):
    image = torch.cat([layers(seed, 30, 41)[0] for seed in range(3)])
    solver = SOLVERS[name](**FAST[name])
    assert not list(solver.parameters()) and not solver.state_dict()
    result = solver(image)
    assert isinstance(result, Layers) and result.gradient is None
    torch.testing.assert_close(result.background + result.reflection, image)
    for n in range(3):  # batched equals one by one
        torch.testing.assert_close(solver(image[n : n + 1]).background[0], result.background[n], rtol=0, atol=1e-12)
    single = solver(image.float())
    assert single.background.dtype == single.reflection.dtype == torch.float32
    error = (single.background.double() - result.background).abs()
    # NR17's Adam walks on rounding: there the mean, not each pixel
    assert (error.mean() if name == "nr17" else error.max()) < 1e-3
    again = SOLVERS[name](**solver.config)
    torch.testing.assert_close(again(image).background, result.background, rtol=0, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_at_once_equals_one_by_one(name):
    """What accelerators run: the whole batch in one call, and for WS16 the channels too."""
    image = torch.cat([layers(seed, 30, 34)[0] for seed in range(2)])
    solver = SOLVERS[name](**FAST[name])
    if name == "ws16":
        edges = solver.classify(image)
        planes = solver._reweighted(image, solver._weights(*edges), 0, 1)
        torch.testing.assert_close(planes, solver.separate(image, *edges), rtol=0, atol=1e-4)
    else:
        torch.testing.assert_close(solver.background(image), solver(image).background, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_separates_layers_whose_assumption_holds(name):
    """SI of the background above the mixture's, that is the identity's, on each of some images."""
    solver = SOLVERS[name](**({"inner": "closed"} if name == "nr17" else {}))
    for seed in range(3):
        mixture, background, _ = layers(seed)
        before = si(Identity()(mixture).background, background)
        after = si(solver(mixture).background.clamp(0, 1), background)
        assert 1 - after < 0.75 * (1 - before), (seed, before, after)


def test_nr17_with_adam_separates_too():
    mixture, background, _ = layers(0, 48, 64)
    after = si(NR17()(mixture.float()).background.double(), background)
    assert 1 - after < 0.75 * (1 - si(mixture, background))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 3)])
@pytest.mark.parametrize("name", SOLVERS)
def test_tiny_and_flat_images(name, size):
    solver = SOLVERS[name](**FAST[name])
    assert solver(torch.rand(2, 3, *size)).background.isfinite().all()
    for value in (0.0, 0.4, 1.0):  # nothing to separate
        flat = torch.full((1, 3, *size), value)
        torch.testing.assert_close(solver(flat).background, flat, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_grey_stays_grey(name):
    grey = layers(3, 30, 40)[0][:, :1].expand(-1, 3, -1, -1)
    background = SOLVERS[name](**FAST[name])(grey).background
    torch.testing.assert_close(background[:, 0], background[:, 2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_an_empty_batch_gives_an_empty_batch(name):
    assert SOLVERS[name]()(torch.rand(0, 3, 6, 8)).background.shape == (0, 3, 6, 8)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_nan_and_infinity(name, bad):
    image = torch.rand(3, 3, 8, 8)
    image[1, 2, 4, 4] = bad
    with pytest.raises(DataError, match="image 1"):
        SOLVERS[name]()(image)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_refuses_other_shapes(shape):
    with pytest.raises(DataError, match=r"give \(N, 3, H, W\)"):
        YL19()(torch.rand(shape))


def test_refuses_integers():
    with pytest.raises(DataError, match="floating point"):
        YL19()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_half_precision_is_computed_in_single():
    image = layers(0, 20, 20)[0].half()
    result = YL19()(image)
    assert result.background.dtype == torch.float16
    torch.testing.assert_close(result.background, YL19()(image.float()).background.half())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lb14", {"smoothness": 0}, "smoothness=0"),
        ("lb14", {"threshold": float("nan")}, "threshold=nan"),
        ("lb14", {"iterations": 0}, "iterations=0"),
        ("nr17", {"kappa": 1.0}, "kappa=1.0"),
        ("nr17", {"inner": "newton"}, "inner='newton'"),
        ("nr17", {"adam_betas": (0.9,)}, "not two numbers"),
        ("ws16", {"blurs": (3, 4)}, "odd numbers"),
        ("ws16", {"coarse_weights": (1.0,)}, "not two numbers"),
        ("ws16", {"floor": 0}, "floor=0"),
        ("ws16", {"window": 4}, "window=4"),
        ("ws16", {"scales": (0.8, 2)}, "scales"),
        ("lb14", {"growth": -1}, "growth=-1"),
        ("nr17", {"beta_start": 0}, "beta_start=0"),
        ("yl19", {"epsilon": 0}, "epsilon=0"),
        ("yl19", {"threshold": "0.1"}, "threshold=0.1"),
        ("yl19", {"brightness": "auto"}, "brightness='auto'"),
    ],
)
def test_refuses_wrong_constants(name, options, message):
    with pytest.raises(ConfigError, match=message):
        SOLVERS[name](**options)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("lb14", {"growth": 3.0}),
        ("lb14", {"shift_rate": 0.5}),
        ("lb14", {"shift_tolerance": 1e4}),
        ("nr17", {"inner": "closed", "beta_start": 20.0}),
        ("ws16", {"iterations": 0, "scales": (0.7, 0.3)}),
        ("ws16", {"iterations": 0, "window": 7}),
    ],
)
def test_constants_have_an_effect(name, option):
    mixture = layers(0, 48, 64)[0]
    usual = {key: value for key, value in option.items() if key in ("inner", "iterations")}
    assert not torch.allclose(SOLVERS[name](**option)(mixture).background, SOLVERS[name](**usual)(mixture).background)


def test_brightness_policy():
    mixture = layers(0)[0]
    raw, mean = (LB14(brightness=policy)(mixture) for policy in ("raw", "mean"))
    assert (raw.background.mean((2, 3)) < mixture.mean((2, 3)) - 0.01).all()
    torch.testing.assert_close(mean.background.mean((2, 3)), mixture.mean((2, 3)))
    offset = mean.background - raw.background
    torch.testing.assert_close(offset, offset.mean((2, 3), keepdim=True).expand_as(offset))


@pytest.mark.parametrize("name", ["lb14", "nr17", "ws16"])
def test_progress_rises_to_one(name):
    seen: list[float] = []
    SOLVERS[name](**FAST[name], progress=seen.append)(torch.rand(1, 3, 12, 12))
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1) and seen[0] > 0


# --- WS16's edges ---


def test_ws16_classifies_sharp_edges_and_not_blurred_ones():
    mixture, background, _ = layers(4, 120, 160)
    sharp = torch.zeros(120, 160, dtype=torch.bool)
    sharp[:, :-1] |= (background[0].diff(dim=-1).abs() > 0.1).any(0)
    sharp[:-1] |= (background[0].diff(dim=-2).abs() > 0.1).any(0)
    far = torch.from_numpy(ndimage.distance_transform_cdt(~sharp.numpy(), "chessboard") > 6)
    edges, reflection = (found[0, 0] for found in WS16().classify(mixture))
    assert edges[sharp].float().mean() > 0.95
    assert edges[far].float().mean() < 0.05
    assert not (edges & reflection).any()


def test_ws16_takes_weak_edges_away_from_sharp_ones_for_the_reflection():
    mixture = torch.full((1, 3, 60, 80), 0.3)
    mixture[..., 10:14] = 0.9  # sharp, and strong: sets the threshold
    mixture[..., 50:] += torch.tensor([0.01, 0.02, 0.03, 0.04] + [0.04] * 26)  # a ramp: Sobel magnitude 4 * 0.02
    edges, reflection = WS16(reflection_range=(0.05, 0.15)).classify(mixture)
    assert edges[0, 0, 5:-5, 9:14].any(1).all() and not edges[0, 0, :, 25:].any()
    assert reflection[0, 0, 5:-5, 50:52].all() and not reflection[0, 0, :, :45].any()


def published_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """WS16's edges of the background and of the reflection, of one image (H, W, 3), as published, histogram by
    histogram; only the pyramid is resized by the solver's own function."""

    def frequencies(d):
        bins = np.clip(np.floor((d + 1) / 2 * 41), 0, 40).astype(int)
        return np.bincount(bins.ravel(), minlength=41)[bins] / bins.size

    def derivatives(x):
        return np.diff(x, axis=1, append=x[:, -1:]), np.diff(x, axis=0, append=x[-1:])

    def level(lab):
        result = np.zeros_like(lab)
        for c in range(3):
            for size in (3, 5, 7):
                t = np.arange(size) - size // 2
                kernel = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 5**2))
                blurred = ndimage.correlate(lab[..., c], kernel / kernel.sum(), mode="nearest")
                for one, other in zip(derivatives(lab[..., c]), derivatives(blurred), strict=True):
                    p1, pk = frequencies(one), frequencies(other)
                    divergence = pk / (pk + p1) * np.log(pk / p1)
                    result[..., c] += ndimage.correlate(divergence, np.ones((3, 3)), mode="constant") / 70
        return result

    def resized(x, size, antialias):
        t = torch.from_numpy(x.transpose(2, 0, 1).copy())[None]
        t = F.interpolate(t, size, mode="bicubic", antialias=antialias, align_corners=False)
        return t[0].numpy().transpose(1, 2, 0)

    height, width = image.shape[:2]
    lab = rgb2lab(image) / (100, 255, 255)
    coarse = []
    for scale in (0.8, 0.5):
        small = resized(lab, (int(np.ceil(height * scale)), int(np.ceil(width * scale))), True)
        coarse.append(resized(level(small), (height, width), False))
    confidence = level(lab) * (0.4 * coarse[0] + 0.6 * coarse[1])
    tau = confidence[..., 0].mean()
    background = (confidence > (tau, tau / 1.5, tau / 1.5**2)).any(axis=2)
    gx, gy = (np.stack([ndimage.sobel(image[..., c], axis, mode="nearest") for c in range(3)]) for axis in (1, 0))
    sobel = np.hypot(gx, gy).max(axis=0)
    near = ndimage.binary_dilation(background, np.ones((11, 11)))
    return background, (sobel > 0.1) & (sobel < 0.3) & ~near


@pytest.mark.parametrize("seed", [0, 2])
def test_ws16_finds_the_edges_of_the_published_description(seed):
    mixture = layers(seed, 60, 81)[0]
    found = [edges[0, 0].numpy() for edges in WS16().classify(mixture)]
    expected = published_edges(mixture[0].numpy().transpose(1, 2, 0))
    for edges, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(edges, wanted)
        assert wanted.any()
