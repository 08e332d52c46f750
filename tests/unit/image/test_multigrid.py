"""Multigrid conjugate gradients against dense solves."""

import numpy as np
import pytest
import torch

from crrn.image.multigrid import Coupling, PairOperator, VCycle, conjugate_gradients


def dense(operator, height: int, width: int) -> np.ndarray:
    """The operator's matrix for one plane."""
    unit = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    columns = [operator(e[None]).flatten() for e in unit]
    return torch.stack(columns, dim=1).numpy()


def weights(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wx = torch.rand(1, 1, height, width - 1, generator=generator, dtype=torch.float64)
    wy = torch.rand(1, 1, height - 1, width, generator=generator, dtype=torch.float64)
    return 10 ** (4 * wx), 10 ** (4 * wy)


def apply(operator: PairOperator, x: torch.Tensor) -> torch.Tensor:
    return -operator.subtract_from(torch.zeros_like(x), x, out=torch.empty_like(x))


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (2, 3)])
def test_cycle_is_symmetric_and_definite(size):
    grid = VCycle(*weights(*size))
    matrix = dense(lambda x: grid(x).clone(), *size)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_solves_with_weights_over_four_decades():
    height, width = 13, 18
    wx, wy = weights(height, width)
    operator = PairOperator((Coupling(wx, -1), Coupling(wy, -2), Coupling(wx[..., 1:], -1, 2)))
    matrix = dense(lambda x: apply(operator, x), height, width)
    x = torch.rand(1, 1, height, width, dtype=torch.float64)
    quadratic = (wx * x.diff(dim=-1) ** 2).sum() + (wy * x.diff(dim=-2) ** 2).sum()
    quadratic += (wx[..., 1:] * (x[..., 2:] - x[..., :-2]) ** 2).sum()
    assert quadratic.item() == pytest.approx(x.numpy().ravel() @ matrix @ x.numpy().ravel())
    rhs = x - x.mean()
    found = conjugate_gradients(operator, rhs, torch.zeros_like(rhs), VCycle(wx, wy), 1e-12, 500)
    expected = np.linalg.lstsq(matrix, rhs.numpy().ravel(), rcond=1e-12)[0]
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=1e-9 * abs(expected).max())
