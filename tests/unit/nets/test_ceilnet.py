"""CEILNet: its edge map and losses by independent means, its networks by shape and count."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from crrn.errors import ConfigError, DataError
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.nets import build_network, record_of
from crrn.nets.ceilnet import CEILNet, EdgeNet, ImageNet, edge_map

WIDTH = 1 / 16

EDGE_LOSS = ReconstructionLoss(gradient={"mse": 1.0})
IMAGE_LOSS = ReconstructionLoss({"mse": 0.2, "derivative_l1": 0.4})
JOINT_LOSS = ReconstructionLoss({"mse": 0.2, "derivative_l1": 0.4}, gradient={"mse": 0.4})


def edge_loss(edges, background):
    return EDGE_LOSS(Layers(gradient=edges), Layers(gradient=edge_map(background)))[0]


def image_loss(estimate, background):
    return IMAGE_LOSS(Layers(estimate), Layers(background))[0]


def joint_loss(estimate, edges, background):
    return JOINT_LOSS(Layers(estimate, gradient=edges), Layers(background, gradient=edge_map(background)))[0]


def test_edge_map_equals_scipy():
    image = np.random.default_rng(0).random((2, 3, 6, 9))
    expected = np.zeros((2, 1, 6, 9))
    for n in range(2):
        for c in range(3):
            for axis in (0, 1):
                for kernel in ([0, -1, 1], [-1, 1, 0]):
                    expected[n, 0] += 0.5 * abs(ndimage.correlate1d(image[n, c], kernel, axis=axis, mode="nearest"))
    np.testing.assert_allclose(edge_map(torch.from_numpy(image)), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
def test_edge_map_of_thin_images(size):
    assert edge_map(torch.rand(1, 3, *size)).shape == (1, 1, *size)


def test_losses_by_hand():
    estimate, background = np.random.default_rng(1).random((2, 2, 3, 5, 7))
    error = estimate - background
    expected = 0.2 * np.mean(error**2)
    expected += 0.4 * np.mean(abs(np.diff(error, axis=3))) + 0.4 * np.mean(abs(np.diff(error, axis=2)))
    x, y = torch.from_numpy(estimate), torch.from_numpy(background)
    edges = torch.rand(2, 1, 5, 7, dtype=torch.float64)
    mse = np.mean((edges.numpy() - edge_map(y).numpy()) ** 2)
    assert image_loss(x, y).item() == pytest.approx(expected)
    assert edge_loss(edges, y).item() == pytest.approx(mse)
    assert joint_loss(x, edges, y).item() == pytest.approx(expected + 0.4 * mse)


def test_gradients_of_the_losses_and_the_edge_map():
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int) -> torch.Tensor:
        return torch.rand(2, channels, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)

    background = draw(3).detach()
    assert torch.autograd.gradcheck(image_loss, (draw(3), background))
    assert torch.autograd.gradcheck(edge_loss, (draw(1), background))
    assert torch.autograd.gradcheck(joint_loss, (draw(3), draw(1), background))
    assert torch.autograd.gradcheck(edge_map, (draw(3),))


def test_gradient_reaches_every_parameter_of_both_networks():
    network = CEILNet(WIDTH)
    mixture, background = torch.rand(2, 3, 12, 14), torch.rand(2, 3, 12, 14)
    layers = network(mixture)
    joint_loss(layers.background, layers.gradient, background).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 10), (1, 6)])
def test_any_size(size):
    network = CEILNet(WIDTH).eval()
    mixture = torch.rand(2, 3, *size)
    with torch.no_grad():
        layers = network(mixture)
    assert layers.background.shape == mixture.shape and layers.gradient.shape == (2, 1, *size)
    # an untrained network's layers are far larger than their sum, which keeps their rounding
    torch.testing.assert_close(layers.background + layers.reflection, mixture, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
@pytest.mark.parametrize("network", [CEILNet, EdgeNet, ImageNet])
def test_refuses_other_shapes(network, shape):
    with pytest.raises(DataError, match=r"give \(N, 3, H, W\)"):
        network(WIDTH)(torch.rand(shape))


@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1)])
def test_losses_of_thin_images_are_finite(size):
    estimate = torch.rand(1, 3, *size, requires_grad=True)
    image_loss(estimate, torch.rand(1, 3, *size)).backward()
    assert estimate.grad.isfinite().all()


def test_the_image_network_trains_with_the_true_edges():
    network = ImageNet(WIDTH).eval()
    mixture, background = torch.rand(2, 1, 3, 12, 14)
    taught = network.training_forward(mixture, background).background
    torch.testing.assert_close(taught, network(mixture, edge_map(background)).background, rtol=0, atol=0)
    assert not torch.allclose(taught, network(mixture).background)


def test_each_stage_has_its_part_and_parts_can_be_built_alone():
    network = CEILNet(WIDTH)
    parts = network.stages()
    assert list(parts) == ["edges", "image", "joint"]
    own = [{id(p) for p in part.parameters()} for part in parts.values()]
    assert own[0] | own[1] == own[2] and not own[0] & own[1]
    for part in parts.values():
        again = build_network(record_of(part))
        again.load_state_dict(part.state_dict())
        mixture = torch.rand(1, 3, 12, 14)
        found, expected = again.eval()(mixture), part.eval()(mixture)
        for name in part.estimates:
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)


def test_published_layers():
    """Kind, channels in and out, kernel, stride of every convolution, and what follows it."""
    same = ("Conv2d", 64, 64, 3, 1)
    for network, channels_out in ((EdgeNet(), 1), (ImageNet(), 3)):
        layers = [
            (type(m).__name__, m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
            for m in network.modules()
            if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
        ]
        encoder = [("Conv2d", 4, 64, 3, 1), same, ("Conv2d", 64, 64, 3, 2)]
        decoder = [("ConvTranspose2d", 64, 64, 4, 2), same, ("Conv2d", 64, channels_out, 1, 1)]
        assert layers == [*encoder, *[same] * 26, *decoder]
        unit = ["BatchNorm2d", "ReLU"]
        for block in network.blocks:
            assert [type(m).__name__ for m in block.branch] == ["Conv2d", *unit, "Conv2d", "BatchNorm2d"]
        assert [type(m).__name__ for m in network.encoder] == ["Conv2d", *unit] * 3
        assert [type(m).__name__ for m in network.decoder] == ["ConvTranspose2d", *unit, "Conv2d", *unit, "Conv2d"]


@pytest.mark.slow
def test_learns_to_remove_a_reflection():
    torch.manual_seed(0)
    network = ImageNet(WIDTH)
    background = torch.zeros(2, 3, 16, 16)
    background[..., 8:] = 0.6
    mixture = background + 0.3 * torch.linspace(0, 1, 16)[:, None]
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        adam.zero_grad()
        loss = image_loss(network.training_forward(mixture, background).background, background)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_refuses_a_width_that_is_none():
    with pytest.raises(ConfigError, match="width"):
        CEILNet(0)
