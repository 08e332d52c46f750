"""Each term against an independent implementation, the sum against paper Eq. 7."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from crrn.errors import ConfigError
from crrn.layers import Layers
from crrn.losses import TERMS, ReconstructionLoss
from crrn.mixing import Mixture

EQ_7 = {"background": {"ssim": 0.8, "l1": 1}, "reflection": {"ssim": 1}, "gradient": {"si": 1}}


def layers(seed: int, dtype: torch.dtype = torch.float32, height: int = 17, width: int = 22) -> Layers:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, channels, height, width) for channels in (3, 3, 1)]
    return Layers(*(torch.rand(shape, dtype=dtype, generator=generator) for shape in shapes))


def ssim_oracle(x: Tensor, y: Tensor) -> float:
    # Torchmetrics' own mean is over a reflect-padded border too; the paper's term is over the valid region.
    _, full = structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0, return_full_image=True)
    return 1 - full[..., 5:-5, 5:-5].mean().item()


def si_oracle(x: Tensor, y: Tensor) -> float:
    def mean(images: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(images, 1.5, radius=5, axes=(2, 3))[..., 5:-5, 5:-5]

    a, b = x.double().numpy(), y.double().numpy()
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    return 1 - ((2 * covariance + 9e-4) / (variances + 9e-4)).mean().item()


def l1_oracle(x: Tensor, y: Tensor) -> float:
    return float(np.abs(x.numpy() - y.numpy()).mean())


ORACLES = {"ssim": ssim_oracle, "si": si_oracle, "l1": l1_oracle}


@pytest.mark.parametrize("layer", Layers._fields)
@pytest.mark.parametrize("term", ORACLES)
def test_each_term_on_each_layer(layer, term):
    estimate, target = layers(0), layers(1)
    total, values = ReconstructionLoss(**{layer: {term: 2.5}})(estimate, target)
    expected = ORACLES[term](getattr(estimate, layer), getattr(target, layer))
    assert values.keys() == {f"{layer}_{term}"}
    assert values[f"{layer}_{term}"].item() == pytest.approx(expected, abs=1e-5)
    assert total.item() == pytest.approx(2.5 * expected, abs=3e-5)


def test_eq_7():
    estimate, target = layers(0), layers(1)
    loss = ReconstructionLoss(**EQ_7)
    total, values = loss(estimate, target)
    b, r, g = zip(estimate, target, strict=True)
    expected = 0.8 * ssim_oracle(*b) + l1_oracle(*b) + ssim_oracle(*r) + si_oracle(*g)
    assert total.item() == pytest.approx(expected, abs=1e-5)
    assert values.keys() == {"background_ssim", "background_l1", "reflection_ssim", "gradient_si"}
    assert loss.layers == ("background", "reflection", "gradient")
    assert not any(value.requires_grad for value in values.values())


@pytest.fixture
def filters(monkeypatch) -> list[object]:
    """Calls of the filter, as they come."""
    calls = []
    conv2d = torch.nn.functional.conv2d
    monkeypatch.setattr(
        torch.nn.functional, "conv2d", lambda *args, **kwargs: calls.append(1) or conv2d(*args, **kwargs)
    )
    return calls


def test_a_perfect_estimate_costs_nothing():
    target = layers(1)
    total, _ = ReconstructionLoss(**EQ_7)(target, target)
    assert abs(total.item()) < 1e-5


def test_gradcheck():
    estimate, target = layers(0, torch.float64, 12, 12), layers(1, torch.float64, 12, 12)
    loss = ReconstructionLoss(**EQ_7)
    inputs = tuple(image.requires_grad_() for image in estimate)
    assert torch.autograd.gradcheck(lambda *images: loss(Layers(*images), target)[0], inputs, fast_mode=True)


def test_the_gradient_descends():
    target = layers(1)
    estimate = Layers(*(image.clone().requires_grad_() for image in layers(0)))
    loss = ReconstructionLoss(**EQ_7)
    optimizer = torch.optim.Adam(estimate, lr=0.02)
    history = []
    for _ in range(10):
        optimizer.zero_grad()
        total, _ = loss(estimate, target)
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.8 * history[0]
    assert all(image.grad is not None and image.grad.abs().sum() > 0 for image in estimate)


@pytest.mark.parametrize("absent", [{}, {"ssim": None, "si": None}, {"ssim": 0, "si": 0.0}])
def test_an_absent_term_is_not_computed(filters, absent):
    loss = ReconstructionLoss(background={"l1": 1, **absent}, reflection=absent, gradient=None)
    assert loss.layers == ("background",)
    total, values = loss(layers(0), Layers(background=layers(1).background))
    assert values.keys() == {"background_l1"}
    assert total.item() == values["background_l1"].item()
    assert not filters


def test_ssim_and_si_of_a_layer_share_their_statistics(filters):
    ReconstructionLoss(background={"ssim": 1, "si": 1, "l1": 1})(layers(0), layers(1))
    assert len(filters) == 2  # along H and along W


def test_low_precision_is_computed_in_float32():
    estimate, target = layers(0), layers(1)
    loss = ReconstructionLoss(**EQ_7)
    expected, _ = loss(estimate, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = loss(estimate, target)
    assert total.dtype == torch.float32
    assert torch.equal(total, expected)
    total, _ = loss(Layers(*(image.bfloat16() for image in estimate)), target)
    assert total.dtype == torch.float32


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"background": {"huber": 1}}, r"loss\.background\.huber"),
        ({"gradient": {"si": -1}}, r"loss\.gradient\.si=-1"),
        ({"gradient": {"si": float("nan")}}, r"loss\.gradient\.si=nan"),
        ({"gradient": {"si": "much"}}, r"loss\.gradient\.si=much"),
        ({}, "no term"),
        ({"background": {"ssim": 0}, "gradient": {}}, "no term"),
    ],
)
def test_refuses_wrong_settings(terms, message):
    with pytest.raises(ConfigError, match=message):
        ReconstructionLoss(**terms)


def test_a_term_on_a_missing_layer_names_itself_and_the_way_out():
    loss = ReconstructionLoss(background={"l1": 1}, gradient={"si": 1})
    with pytest.raises(ConfigError, match=r"loss\.gradient\.si .*network .*loss\.gradient=null"):
        loss(layers(0)._replace(gradient=None), layers(1))
    with pytest.raises(ConfigError, match=r"loss\.background\.l1 .*data"):
        loss(layers(0), layers(1)._replace(background=None))


def masked(known: list[bool], dtype: torch.dtype = torch.float64) -> tuple[Layers, Layers, Mixture]:
    """Estimates that want gradients, targets, and the batch that says whose reflection is known."""
    estimate = [torch.rand(len(known), 3, 14, 15, dtype=dtype) for _ in range(2)]
    target = [torch.rand(len(known), 3, 14, 15, dtype=dtype) for _ in range(2)]
    batch = Mixture(torch.rand(len(known), 3, 14, 15, dtype=dtype), *target, torch.tensor(known))
    return Layers(*(image.requires_grad_() for image in estimate)), Layers(*target), batch


@pytest.mark.parametrize("known", [[True, False, True, False, False], [False, False], [True, True]])
def test_an_unknown_reflection_counts_zero_and_the_whole_batch_divides(known):
    estimate, target, batch = masked(known)
    loss = ReconstructionLoss(background={"l1": 1}, reflection={term: 1 + n for n, term in enumerate(TERMS)})
    total, values = loss(estimate, target, batch)
    total.backward()

    rows = [
        loss(*(Layers(x.background[n : n + 1], x.reflection[n : n + 1]) for x in (estimate, target)))
        for n in range(len(known))
    ]
    for name in values:
        counted = [
            row[name] for (_, row), is_known in zip(rows, known, strict=True) if is_known or "background" in name
        ]
        assert values[name].item() == pytest.approx(sum(value.item() for value in counted) / len(known), rel=1e-12)
    assert estimate.background.grad.abs().amin((1, 2, 3)).gt(0).all()
    for n, is_known in enumerate(known):
        mine = estimate.reflection.grad[n]
        (expected,) = torch.autograd.grad(rows[n][0] / len(known), estimate.reflection)
        torch.testing.assert_close(mine, expected[n] if is_known else torch.zeros_like(mine), rtol=1e-12, atol=0)


def test_an_unknown_reflection_may_hold_anything():
    estimate, target, batch = masked([True, False], torch.float32)
    with torch.no_grad():
        estimate.reflection[1] = torch.nan
        target.reflection[1] = torch.inf
    total, _ = ReconstructionLoss(reflection={"l1": 1, "ssim": 1, "derivative_l1": 1})(estimate, target, batch)
    total.backward()
    assert total.isfinite()
    assert estimate.reflection.grad[1].eq(0).all()
    assert estimate.reflection.grad[0].ne(0).any()


def test_a_batch_of_unknown_reflections_costs_nothing_in_float32():
    estimate, target, batch = masked([False, False], torch.float32)
    total, _ = ReconstructionLoss(reflection={"l1": 1, "ssim": 1, "si": 1})(estimate, target, batch)
    assert abs(total.item()) < 1e-6


class Contrast(torch.nn.Module):
    """A term of one's own with a weight and a mode: the squared difference, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, estimate, target):
        return self.scale * self.dropout((estimate - target) ** 2).mean()


def test_a_term_of_ones_own_counts_as_any_other():
    estimate, target, batch = masked([True, False])
    loss = ReconstructionLoss(
        background={"l1": 1, "square": 0.5}, reflection={"square": 2}, terms={"square": Contrast()}
    )
    total, values = loss(estimate, target, batch)
    total.backward()

    b, r = ((x - y).detach().numpy() for x, y in zip(estimate[:2], target[:2], strict=True))
    r[1] = 0  # unknown
    assert values.keys() == {"background_l1", "background_square", "reflection_square"}
    assert values["background_square"].item() == pytest.approx(3 * (b**2).mean(), rel=1e-12)
    assert values["reflection_square"].item() == pytest.approx(3 * (r**2).mean(), rel=1e-12)
    assert total.item() == pytest.approx(np.abs(b).mean() + 1.5 * (b**2).mean() + 6 * (r**2).mean(), rel=1e-12)
    np.testing.assert_allclose(estimate.reflection.grad.numpy(), 12 * r / r.size, rtol=1e-12)
    assert loss.layers == ("background", "reflection")


def test_a_term_of_ones_own_is_neither_trained_nor_kept_with_the_network():
    term = Contrast()
    loss = ReconstructionLoss(background={"square": 1}, terms={"square": term}).train()
    assert not loss.state_dict() and not list(loss.parameters())
    assert not term.scale.requires_grad and not term.dropout.training


def test_a_term_of_ones_own_is_computed_in_float32():
    seen = []

    def dtypes(estimate, target):
        seen.append((estimate.dtype, target.dtype, (estimate @ target.mT).dtype))
        return (estimate - target).abs().mean()

    loss = ReconstructionLoss(background={"own": 1}, terms={"own": dtypes})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss(Layers(*(image.bfloat16() for image in layers(0))), layers(1))
    assert seen == [(torch.float32,) * 3]


def test_a_term_of_ones_own_may_be_named():
    by_name = ReconstructionLoss(background={"own": 1}, terms={"own": "torch.nn.functional.mse_loss"})
    expected = ReconstructionLoss(background={"mse": 1})
    assert torch.equal(by_name(layers(0), layers(1))[0], expected(layers(0), layers(1))[0])


def vector(estimate, target):
    return (estimate - target).abs().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (vector, r"loss\.terms\.own returns a Tensor of shape \(2,\): return a scalar"),
        (lambda x, y: 1.0, r"loss\.terms\.own returns a float: return a scalar"),
        (lambda x, y: vector(x.detach(), y).mean(), r"loss\.terms\.own has no gradient"),
    ],
)
def test_what_a_term_of_ones_own_returns_is_checked(term, message):
    estimate = Layers(background=layers(0).background[[0, 0]].requires_grad_())
    target = Layers(background=layers(1).background[[0, 0]])
    with pytest.raises(ConfigError, match=message):
        ReconstructionLoss(background={"own": 1}, terms={"own": term})(estimate, target)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"own": "mylab.nowhere.contrast"}, r"loss\.terms\.own=mylab\.nowhere\.contrast cannot be imported"),
        ({"own": Contrast}, r"loss\.terms\.own=.*Contrast.* is not a term: .*loss\.terms\.own\._target_"),
        ({"own": 3}, r"loss\.terms\.own=3 is not a term"),
        ({"l1": vector}, r"loss\.terms\.l1: the name 'l1' is taken"),
        ({"own": vector, "more": vector}, r"loss\.terms\.more has no weight: give one, such as loss\.background\.more"),
    ],
)
def test_a_wrong_term_of_ones_own_is_refused(terms, message):
    with pytest.raises(ConfigError, match=message):
        ReconstructionLoss(background={"own": 1}, terms=terms)


def test_a_loss_knows_its_terms_on_layers_that_a_network_does_not_estimate():
    loss = ReconstructionLoss(background={"l1": 1}, reflection={"l1": 1}, exclusion=0.1)
    assert loss.foreign_to(("background", "reflection")) == {}
    assert loss.foreign_to(("background",)) == {"reflection": "reflection", "exclusion": "reflection"}
    assert ReconstructionLoss(gradient={"si": 1}, reconstruction=1).foreign_to(("gradient",)) == {
        "reconstruction": "background"
    }
