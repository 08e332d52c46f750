"""The convolution to one channel against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from crrn.nets.blocks import ToOneChannel


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_a_convolution_with_its_gradients(layout):
    layer = ToOneChannel(6, 5).double().to(memory_format=layout)
    x = torch.rand(2, 6, 9, 13, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    expected = F.conv2d(x, layer.weight, layer.bias, padding=2)
    result = layer(x)
    torch.testing.assert_close(result, expected)
    sources = (x, layer.weight, layer.bias)
    for own, other in zip(*(torch.autograd.grad(y.square().sum(), sources) for y in (result, expected)), strict=True):
        torch.testing.assert_close(own, other)


def test_sums_in_single_precision_under_autocast():
    layer = ToOneChannel(6, 5)
    x = torch.rand(2, 6, 9, 13)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, F.conv2d(x, layer.weight, layer.bias, padding=2), atol=0.02, rtol=0)


def test_is_saved_as_a_convolution_is():
    layer, plain = ToOneChannel(6, 5), torch.nn.Conv2d(6, 1, 5)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
