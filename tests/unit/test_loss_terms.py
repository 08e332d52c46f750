"""The terms at several scales and on both layers against NumPy, their gradients against finite differences."""

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from torch import Tensor

from crrn.errors import ConfigError
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss, derivative_l1, exclusion, multiscale_l1, reconstruction
from crrn.mixing import (
    CEILNetMixing,
    FresnelMixing,
    GammaMixing,
    GhostingMixing,
    LinearMixing,
    Mixture,
    PaperMixing,
    ScreenMixing,
)


def images(seed: int, count: int = 2, height: int = 17, width: int = 22, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, dtype=torch.float64, generator=generator)


def halved(image: np.ndarray, times: int) -> np.ndarray:
    """Means over whole blocks of 2^times pixels, by scikit-image."""
    size = 2**times
    whole = image[..., : image.shape[2] // size * size, : image.shape[3] // size * size]
    return block_reduce(whole, (1, 1, size, size), np.mean)


@pytest.mark.parametrize(("height", "width"), [(17, 22), (16, 32), (5, 40), (1, 9)])
def test_multiscale_l1_is_the_mean_over_scales(height, width):
    x, y = images(0, height=height, width=width), images(1, height=height, width=width)
    error = (x - y).numpy()
    scales = [times for times in range(4) if min(height, width) >= 2**times]
    expected = np.mean([np.abs(halved(error, times)).mean() for times in scales])
    assert multiscale_l1(x - y).item() == pytest.approx(expected, rel=1e-12)


def test_brightness_counts_at_all_scales_and_detail_at_the_finest():
    brightness = torch.full((1, 3, 16, 16), 0.1)
    checks = 0.1 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16)).expand(1, 3, 16, 16)
    assert multiscale_l1(brightness).item() == pytest.approx(0.1)
    assert multiscale_l1(checks).item() == pytest.approx(0.1 / 4)


def test_derivative_l1_equals_numpy():
    error = (images(0) - images(1)).numpy()
    expected = sum(np.abs(np.diff(error, axis=axis)).mean() for axis in (2, 3))
    assert derivative_l1(images(0) - images(1)).item() == pytest.approx(expected, rel=1e-12)


def exclusion_by_numpy(background: np.ndarray, reflection: np.ndarray) -> float:
    """Image by image, scale by scale, direction by direction."""
    values = []
    for b, r in zip(background, reflection, strict=True):
        for times in range(3):
            for axis in (2, 3):
                db, dr = (np.diff(halved(layer[None], times), axis=axis) for layer in (b, r))
                balance = np.sqrt(np.linalg.norm(dr) / np.linalg.norm(db))
                product = np.tanh(balance * np.abs(db)) * np.tanh(np.abs(dr) / balance)
                values.append(np.sqrt(np.mean(product**2)))
    return float(np.mean(values))


def test_exclusion_equals_numpy():
    background, reflection = images(0, 3), 0.3 * images(1, 3)
    expected = exclusion_by_numpy(background.numpy(), reflection.numpy())
    assert exclusion(background, reflection).item() == pytest.approx(
        expected, abs=1.2e-4
    )  # the root of the floor, which is taken off
    assert expected > 0.01


def test_exclusion_is_high_where_edges_coincide_and_zero_where_a_layer_is_flat():
    edges, others = torch.zeros(2, 1, 3, 32, 32, dtype=torch.float64)
    edges[..., 8:16, 8:16], others[..., 20:28, 20:28] = 1, 1
    assert exclusion(edges, edges) > 10 * exclusion(edges, others)
    flat = torch.full_like(edges, 0.4)
    assert exclusion(edges, flat).item() == pytest.approx(0, abs=1e-9)
    assert exclusion(flat, flat).item() == 0


def test_exclusion_of_one_pixel_is_zero():
    assert exclusion(torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1)) == 0


def test_each_image_counts_by_itself():
    background, reflection = images(0, 4), images(1, 4)
    singly = [exclusion(background[n : n + 1], reflection[n : n + 1]) for n in range(4)]
    assert exclusion(background, reflection).item() == pytest.approx(torch.stack(singly).mean().item(), rel=1e-12)


def reconstruction_by_numpy(background: Tensor, reflection: Tensor, mixture: Tensor, formation: Tensor) -> float:
    total = 0.0
    for b, r, i, (g, a) in zip(
        *(tensor.numpy() for tensor in (background, reflection, mixture, formation)), strict=True
    ):
        if np.isfinite([g, a]).all():
            formed = ((a * b.clip(0)) ** g + r.clip(0) ** g) ** (1 / g)
            total += np.abs(formed.clip(0, 1) - i).sum()
    return total / mixture.numel()


FORMATION = torch.tensor([[2.2, 1.0], [torch.nan, torch.nan], [1.0, 0.8], [1.8, torch.nan]], dtype=torch.float64)


def test_reconstruction_equals_numpy_and_leaves_rows_without_a_formula_out():
    background, reflection, mixture = 1.2 * images(0, 4) - 0.1, images(1, 4) - 0.2, images(2, 4)
    expected = reconstruction_by_numpy(background, reflection, mixture, FORMATION)
    result = reconstruction(background, reflection, mixture, FORMATION)
    # Light has a floor of 1e-8.
    assert result.item() == pytest.approx(expected, abs=1e-5)
    assert expected > 0.05


def test_rows_without_a_formula_have_no_gradient():
    background, reflection = images(0, 4).requires_grad_(), images(1, 4).requires_grad_()
    with torch.no_grad():
        background[1], reflection[1] = torch.nan, torch.inf
    reconstruction(background, reflection, images(2, 4), FORMATION).backward()
    for layer in (background, reflection):
        assert layer.grad[[1, 3]].eq(0).all()
        assert layer.grad[[0, 2]].isfinite().all() and layer.grad[[0, 2]].ne(0).any()


def test_without_any_formula_it_is_zero_and_can_still_be_differentiated():
    background, reflection = images(0).requires_grad_(), images(1).requires_grad_()
    for formation in (None, torch.full((2, 2), torch.nan)):
        value = reconstruction(background, reflection, images(2), formation)
        value.backward()
        assert value == 0 and background.grad.eq(0).all() and reflection.grad.eq(0).all()


def test_black_layers_have_finite_gradients():
    zeros = [torch.zeros(2, 3, 16, 16, requires_grad=True) for _ in range(2)]
    mixture = torch.rand(2, 3, 16, 16)
    total = reconstruction(*zeros, mixture, torch.tensor([[2.2, 1.0], [1.0, 1.0]])) + exclusion(*zeros)
    total.backward()
    assert all(layer.grad.isfinite().all() for layer in zeros)


MODELS = [PaperMixing, CEILNetMixing, GammaMixing, ScreenMixing, GhostingMixing, FresnelMixing, LinearMixing]


@pytest.mark.parametrize("model", MODELS)
def test_the_true_layers_explain_the_mixture_of_each_model_that_has_a_formula(model):
    mixing = model()
    rng = np.random.default_rng(0)
    drawn = [mixing.draw(rng) for _ in range(3)]
    parameters = {
        name: np.array([each[name] for each in drawn])
        if isinstance(value, int)
        else torch.tensor(np.array([each[name] for each in drawn]), dtype=torch.float32)
        for name, value in drawn[0].items()
    }
    batch = mixing(images(0, 3, 32, 40).float(), images(1, 3, 32, 40).float(), parameters)
    value = reconstruction(batch.background, batch.reflection, batch.mixture, batch.formation)
    assert value.item() < 2e-4
    if batch.formation is not None and batch.formation.isfinite().all():
        assert reconstruction(0.8 * batch.background, batch.reflection, batch.mixture, batch.formation) > 0.02


@pytest.mark.parametrize("term", ["exclusion", "reconstruction", "multiscale_l1", "derivative_l1"])
def test_gradcheck(term):
    # Away from the kinks: nothing is at 0 or above 1.
    background, reflection = 0.2 + 0.3 * images(0, 3, 12, 13), 0.1 + 0.2 * images(1, 3, 12, 13)
    formation = torch.tensor([[2.2, 0.9], [torch.nan, torch.nan], [1.0, 1.0]], dtype=torch.float64)
    batch = Mixture(0.9 + 0.05 * images(2, 3, 12, 13), images(3, 3, 12, 13), images(4, 3, 12, 13), None, formation)
    on_layers = {layer: {term: 1.5} for layer in ("background", "reflection")}
    loss = ReconstructionLoss(**(on_layers if term.endswith("l1") else {term: 1.5}))

    def total(b: Tensor, r: Tensor) -> Tensor:
        return loss(Layers(b, r), Layers(batch.background, batch.reflection), batch)[0]

    inputs = background.requires_grad_(), reflection.requires_grad_()
    assert torch.autograd.gradcheck(total, inputs, fast_mode=True)
    value, _ = loss(Layers(*inputs), Layers(batch.background, batch.reflection), batch)
    assert all(gradient.ne(0).any() for gradient in torch.autograd.grad(value, inputs))


def whole_batch() -> tuple[Layers, Layers, Mixture]:
    batch = Mixture(images(0), images(1), images(2), None, torch.tensor([[2.2, 1.0], [1.0, 1.0]]))
    return Layers(images(3), images(4)), Layers(batch.background, batch.reflection), batch


def test_the_weighted_sum_has_the_terms_on_both_layers():
    estimate, target, batch = whole_batch()
    loss = ReconstructionLoss(background={"multiscale_l1": 2}, exclusion=0.5, reconstruction=0.25)
    total, values = loss(estimate, target, batch)
    assert loss.layers == ("background", "reflection")
    assert values.keys() == {"background_multiscale_l1", "exclusion", "reconstruction"}
    expected = 2 * values["background_multiscale_l1"] + 0.5 * values["exclusion"] + 0.25 * values["reconstruction"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    assert values["exclusion"].item() == exclusion(estimate.background, estimate.reflection).item()
    assert "exclusion=0.5" in repr(loss)


@pytest.mark.parametrize("term", ["exclusion", "reconstruction"])
def test_a_term_on_both_layers_can_be_the_only_one(term):
    estimate, target, batch = whole_batch()
    estimate = Layers(*(layer.requires_grad_() for layer in estimate[:2]))
    loss = ReconstructionLoss(**{term: 2})
    total, values = loss(estimate, Layers(), batch)
    total.backward()
    assert values.keys() == {term} and estimate.reflection.grad.ne(0).any()
    with pytest.raises(ConfigError, match=f"loss.{term} .*loss.{term}=null"):
        loss(Layers(background=estimate.background), target, batch)


@pytest.mark.parametrize("term", ["exclusion", "reconstruction"])
def test_low_precision_is_computed_in_float32(term):
    estimate, target, batch = whole_batch()
    estimate = Layers(*(layer.bfloat16() for layer in estimate[:2]))
    loss = ReconstructionLoss(**{term: 1})
    batch = batch._replace(mixture=batch.mixture.float())
    expected, _ = loss(Layers(*(layer.float() for layer in estimate[:2])), target, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = loss(estimate, target, batch)
    assert total.dtype == torch.float32 and torch.equal(total, expected)


@pytest.mark.parametrize(
    ("term", "weight"), [("exclusion", -1), ("reconstruction", "much"), ("exclusion", float("nan"))]
)
def test_refuses_weights_that_are_none(term, weight):
    with pytest.raises(ConfigError, match=rf"loss\.{term}={weight}"):
        ReconstructionLoss(**{term: weight})


def test_reconstruction_needs_the_batch():
    estimate, target, _ = whole_batch()
    with pytest.raises(ValueError, match="batch"):
        ReconstructionLoss(reconstruction=1)(estimate, target)
