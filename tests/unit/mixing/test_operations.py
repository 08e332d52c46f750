"""Operations of the formation models that no model's formula shows at its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crrn.mixing.operations import power, power_


@pytest.mark.parametrize("exponent", [1 / 4, 1 / 2.2, 1, 2.2, 4])
def test_a_power_is_numpys_also_of_black_and_of_almost_black(exponent: float) -> None:
    values = torch.cat((torch.zeros(3), torch.logspace(-12, 0, 500), torch.linspace(0, 2, 500)))
    images = values.view(1, 1, 1, -1).repeat(2, 3, 1, 1)
    before = images.clone()
    wanted = np.power(before.double().numpy(), exponent)
    for one in (power(images, exponent), power(images, torch.full((2, 1, 1, 1), exponent))):
        np.testing.assert_allclose(one.numpy(), wanted, rtol=1e-6, atol=2e-9)
    assert torch.equal(images, before)
    assert power_(images, exponent) is images
    np.testing.assert_allclose(images.numpy(), wanted, rtol=1e-6, atol=2e-9)
