"""The loss with its gradient written out: values against scikit-image, gradients against differences."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from crrn.image import comparison_kernel
from crrn.image.comparison import Weights, compare

WEIGHTS = [Weights(ssim=0.8, l1=1), Weights(ssim=1), Weights(si=1.5), Weights(0.5, 0.7, 0.2), Weights(l1=2)]


def pair(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, dtype=dtype, generator=generator)
    return x, (x + 0.3 * torch.rand(shape, dtype=dtype, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_gradcheck_of_both_images(weights):
    x, y = (image.requires_grad_() for image in pair(1, 2, 11, 13))
    assert torch.autograd.gradcheck(lambda x, y: compare(x, y, weights)[0], (x, y))


@pytest.mark.parametrize("shape", [(1, 1, 11, 11), (7, 3, 12, 30), (3, 6, 131, 40), (16, 1, 90, 12)])
def test_blocks_change_nothing(monkeypatch, shape):
    """Planes that do not fill a register, several blocks, strips that end near the border."""
    x, y = (image.requires_grad_() for image in pair(*shape))
    weights = Weights(0.5, 0.7, 0.2)

    def results() -> tuple[Tensor, ...]:
        total, values = compare(x, y, weights)
        return total, *values.values(), *torch.autograd.grad(total, (x, y))

    whole = results()
    monkeypatch.setattr(comparison_kernel, "BLOCK", 2**13)
    monkeypatch.setattr(comparison_kernel, "STRIP", 1)
    torch.testing.assert_close(results(), whole, rtol=1e-12, atol=1e-15)


def test_equals_scikit_image():
    x, y = pair(3, 3, 70, 90, dtype=torch.float32)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    planes = zip(x.double().flatten(0, 1).numpy(), y.double().flatten(0, 1).numpy(), strict=True)
    expected = [
        structural_similarity(a, b, data_range=1, full=True, **settings)[1][5:-5, 5:-5].mean() for a, b in planes
    ]
    total, values = compare(x, y, Weights(ssim=0.8, l1=1))
    assert values["ssim"].item() == pytest.approx(1 - np.mean(expected), abs=1e-6)
    assert values["l1"].item() == pytest.approx((x.double() - y.double()).abs().mean().item(), abs=1e-6)
    assert total.item() == pytest.approx(0.8 * values["ssim"].item() + values["l1"].item(), abs=1e-6)


def test_layout_changes_nothing():
    x, y = pair(2, 3, 20, 30, dtype=torch.float32)
    last = x.to(memory_format=torch.channels_last).requires_grad_()
    first = x.clone().requires_grad_()
    for image in (first, last):
        compare(image, y, WEIGHTS[0])[0].backward()
    assert torch.equal(first.grad, last.grad)


def test_gradients_add_up_and_scale():
    x, y = pair(2, 3, 20, 30, dtype=torch.float32)
    x.requires_grad_()
    total, _ = compare(x, y, WEIGHTS[0])
    (expected,) = torch.autograd.grad(total, x, retain_graph=True)
    expected = expected.clone()
    for _ in range(3):
        total.backward(retain_graph=True)
    torch.testing.assert_close(x.grad, 3 * expected)
    x.grad = None
    (0.5 * total).backward()
    torch.testing.assert_close(x.grad, 0.5 * expected)


def test_no_gradient_where_none_is_wanted():
    x, y = pair(1, 1, 12, 12)
    assert not compare(x, y, WEIGHTS[0])[0].requires_grad
    x.requires_grad_()
    with torch.no_grad():
        assert not compare(x, y, WEIGHTS[0])[0].requires_grad
    total, values = compare(x, y, WEIGHTS[0])
    assert total.requires_grad
    assert not any(value.requires_grad for value in values.values())


def test_a_second_derivative_is_refused():
    x, y = pair(1, 1, 12, 12)
    total, _ = compare(x.requires_grad_(), y, WEIGHTS[0])
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(total, x, create_graph=True)


def test_low_precision_is_computed_in_float32():
    x, y = pair(2, 3, 20, 30, dtype=torch.float32)
    expected, _ = compare(x, y, WEIGHTS[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compare(x, y, WEIGHTS[0])[0], expected)
    half = x.bfloat16().requires_grad_()
    compare(half, y, WEIGHTS[0])[0].backward()
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.slow
def test_code_that_is_compiled_gets_the_same():
    x, y = pair(1, 2, 14, 15)
    x.requires_grad_()
    expected, values = compare(x, y, WEIGHTS[3])
    (gradient,) = torch.autograd.grad(expected, x)
    compiled = torch.compile(compare, backend="aot_eager", fullgraph=True)
    total, compiled_values = compiled(x, y, WEIGHTS[3])
    torch.testing.assert_close((total, compiled_values), (expected, values))
    torch.testing.assert_close(torch.autograd.grad(total, x)[0], gradient)


def test_refuses_small_images_and_other_shapes():
    with pytest.raises(ValueError, match="too small for a window of 11"):
        compare(torch.rand(1, 3, 10, 40), torch.rand(1, 3, 10, 40), Weights(ssim=1))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(torch.rand(1, 3, 20, 20), torch.rand(1, 1, 20, 20), Weights(l1=1))
