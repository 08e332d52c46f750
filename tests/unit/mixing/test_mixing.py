import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from tests.unit.mixing.draws import drawn, layers

from crrn.errors import ConfigError
from crrn.mixing import CEILNetMixing, PaperMixing

Mixing = PaperMixing | CEILNetMixing


@pytest.mark.parametrize("target", ["visible", "captured"])
def test_paper_formula(target: str) -> None:
    background, reflection = layers(1, "noise")
    parameters = {"alpha": torch.tensor([0.8, 0.9, 1.0]), "beta": torch.tensor([0.1, 0.5, 0.3])}
    made = PaperMixing(reflection_target=target)(background, reflection, parameters)
    b, r = background.numpy(), reflection.numpy()
    for i, (alpha, beta) in enumerate([(0.8, 0.1), (0.9, 0.5), (1.0, 0.3)]):
        np.testing.assert_allclose(made.mixture[i], np.minimum(alpha * b[i] + beta * r[i], 1), atol=1e-6)
        np.testing.assert_array_equal(made.background[i], b[i])
        np.testing.assert_allclose(made.reflection[i], beta * r[i] if target == "visible" else r[i], atol=1e-6)


def ceilnet_by_the_book(background: np.ndarray, reflection: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The published formula for one (3, H, W) pair, in double precision."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    window /= window.sum()
    r = np.stack([convolve(channel, window, mode="mirror") for channel in reflection])
    mixture = background + r
    if mixture.max() > 1:
        r = np.clip(r - 1.3 * (mixture[mixture > 1] - 1).mean(), 0, 1)
        mixture = np.clip(background + r, 0, 1)
    return mixture, r


@pytest.mark.parametrize("kind", ["noise", "binary", "dark", "white"])
def test_ceilnet_formula(kind: str) -> None:
    background, reflection = layers(2, kind)
    sigma = torch.tensor([2.0, 3.3, 5.0])
    made = CEILNetMixing()(background, reflection, {"sigma": sigma})
    for i in range(3):
        mixture, r = ceilnet_by_the_book(
            background[i].double().numpy(), reflection[i].double().numpy(), float(sigma[i])
        )
        np.testing.assert_allclose(made.mixture[i], mixture, atol=2e-6)
        np.testing.assert_allclose(made.reflection[i], r, atol=2e-6)
        np.testing.assert_array_equal(made.background[i], background[i])


def test_ceilnet_leaves_a_dark_sum_unlowered() -> None:
    background, reflection = layers(3, "dark")
    made = CEILNetMixing()(background, reflection, drawn(CEILNetMixing(), 0))
    torch.testing.assert_close(made.mixture, background + made.reflection)
    torch.testing.assert_close(made.reflection.mean(), reflection.mean(), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("model", "ranges"),
    [
        (PaperMixing(), {"alpha": (0.8, 1.0), "beta": (0.1, 0.5)}),
        (PaperMixing([0.5, 0.5], [0, 1]), {"alpha": (0.5, 0.5), "beta": (0.0, 1.0)}),
        (CEILNetMixing(), {"sigma": (2.0, 5.0)}),
    ],
)
def test_draws_fill_their_ranges(model: Mixing, ranges: dict[str, tuple[float, float]]) -> None:
    values = drawn(model, 0, 2000)
    assert list(values) == list(ranges)
    for name, (low, high) in ranges.items():
        assert values[name].min() >= low
        assert values[name].max() <= high
        assert values[name].mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low) + 1e-6)
        if low < high:
            assert values[name].min() < low + 0.02 * (high - low)
            assert values[name].max() > high - 0.02 * (high - low)


@pytest.mark.parametrize("bounds", [(0.8, 1.2), (-0.1, 0.5), (0.5, 0.1), (0.5,), (float("nan"), 1)])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_paper_range_errors(name: str, bounds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=rf"mixing\.{name}=\[.*\] is not a range: .* 0 <= low <= high <= 1"):
        PaperMixing(**{name: bounds})  # type: ignore[arg-type]


def test_other_errors() -> None:
    with pytest.raises(ConfigError, match=r"mixing\.reflection_target='seen' is unknown: give 'visible'"):
        PaperMixing(reflection_target="seen")
    with pytest.raises(ConfigError, match=r"mixing\.sigma=\[5, 2\] is not a range"):
        CEILNetMixing(sigma=(5, 2))
    with pytest.raises(ConfigError, match=r"mixing\.kernel=10 has no centre: give an odd number"):
        CEILNetMixing(kernel=10)
    with pytest.raises(ConfigError, match=r"mixing\.lowering=-1 would brighten"):
        CEILNetMixing(lowering=-1)
