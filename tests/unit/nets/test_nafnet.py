"""NAFNet: the published counts, means over a window, tiles that agree with the whole image."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crrn.errors import ConfigError
from crrn.inference.export import export_network
from crrn.inference.predictor import Predictor
from crrn.nets import build_network, estimate, estimates_of, load_network, record_of, save_network
from crrn.nets.nafnet import ChannelNorm, NAFBlock, NAFNet, local_mean

RECORD = {"_target_": "crrn.nets.nafnet.NAFNet", "channels": 4, "pool": 16}


def lively(**settings) -> NAFNet:
    """Heads and factors of the branches are not zero."""
    torch.manual_seed(0)
    network = build_network({**RECORD, **settings}).eval()
    for name, value in network.named_parameters():
        if name.endswith(("beta", "gamma")):
            nn.init.uniform_(value, 0.2, 0.5)
        elif name.startswith(("background.", "reflection.")):
            nn.init.normal_(value, std=0.02)
    return network


def test_it_has_the_published_parameters_and_multiplications():
    with torch.device("meta"):
        network, counter = NAFNet(), FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 3, 256, 256))
    own_head = sum(value.numel() for value in network.reflection.parameters())  # the published one has one head
    assert round((sum(value.numel() for value in network.parameters()) - own_head) / 1e6, 1) == 11.6
    extra = own_head * 256 * 256
    assert round((counter.get_total_flops() / 2 - extra) / 1e9, 1) == 7.8


@pytest.mark.parametrize("training", [True, False])
def test_an_untrained_network_is_the_identity(training):
    mixture = torch.rand(2, 3, 48, 32)
    background, reflection = NAFNet(4).train(training)(mixture)
    assert torch.equal(background, mixture) and not reflection.any()


def test_a_block_is_the_published_formula():
    """Against NumPy, one image, with the mean over the whole of it."""
    torch.manual_seed(1)
    block = NAFBlock(6, None)
    for value in block.parameters():
        nn.init.normal_(value, std=0.5)
    weights = {name: value.detach().double().numpy() for name, value in block.named_parameters()}
    x = np.random.default_rng(0).standard_normal((6, 5, 7))

    def one_by_one(name, x):
        return np.tensordot(weights[f"{name}.weight"][:, :, 0, 0], x, 1) + weights[f"{name}.bias"][:, None, None]

    def norm(name, x):
        scaled = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6)
        return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    def depthwise(x):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        kernel = weights["depthwise.weight"][:, 0]
        sums = sum(
            padded[:, dy : dy + 5, dx : dx + 7] * kernel[:, dy, dx, None, None] for dy in range(3) for dx in range(3)
        )
        return sums + weights["depthwise.bias"][:, None, None]

    y = depthwise(one_by_one("expand1", norm("norm1", x)))
    y = y[:6] * y[6:]
    y = y * one_by_one("attention", y.mean((1, 2), keepdims=True))
    middle = x + weights["beta"][0] * one_by_one("project1", y)
    z = one_by_one("expand2", norm("norm2", middle))
    expected = middle + weights["gamma"][0] * one_by_one("project2", z[:6] * z[6:])
    with torch.no_grad():
        found = block.double()(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_the_norm_is_over_the_channels():
    norm, x = ChannelNorm(5), torch.rand(2, 5, 3, 4)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "window"), [(20, 30, 7), (20, 30, 8), (9, 30, 16), (5, 6, 16), (16, 16, 16)]
)
def test_the_local_mean_is_that_of_the_nearest_window_inside(height, width, window):
    x = torch.rand(1, 2, height, width, dtype=torch.float64)
    found = local_mean(x, window).expand_as(x).numpy()[0]
    lengths = [min(window, side) for side in (height, width)]
    for channel, result in zip(x[0].numpy(), found, strict=True):
        means = uniform_filter(
            channel, lengths
        )  # its window reaches from i - length // 2, beyond the border where it may
        rows, columns = (
            np.clip(np.arange(side), length // 2, side - length + length // 2)
            for side, length in zip(channel.shape, lengths, strict=True)
        )
        np.testing.assert_allclose(result, means[np.ix_(rows, columns)], atol=1e-12)


def test_training_takes_the_mean_of_the_whole_image_and_prediction_of_a_window():
    network, mixture = lively(), torch.rand(1, 3, 64, 96)
    whole = lively(pool=None)
    with torch.no_grad():
        assert torch.equal(whole.eval()(mixture)[0], network.train()(mixture)[0])
        assert not torch.allclose(whole(mixture)[0], network.eval()(mixture)[0], atol=1e-4)
        small = mixture[..., :16, :16]  # no longer than the window
        torch.testing.assert_close(whole(small)[0], network(small)[0])


def test_any_size_comes_back_with_both_layers():
    network = lively()
    assert estimates_of(network) == ("background", "reflection")
    for height, width in ((1, 1), (33, 47), (64, 96)):
        layers = estimate(network, torch.rand(2, 3, height, width))
        assert layers.background.shape == layers.reflection.shape == (2, 3, height, width)
        assert layers.gradient is None and layers.background.isfinite().all()


def test_tiles_agree_with_the_whole_image():
    """What a tile does not see is only in the windows at its borders, which the others' overlap covers."""
    texture = torch.rand(1, 3, 20, 25, generator=torch.Generator().manual_seed(2))
    image = nn.functional.interpolate(texture, (320, 400), mode="bicubic").clamp(0, 1)
    differences = {}
    for pool in (32, None):
        network = lively(pool=pool)
        whole, tiled = Predictor(network)(image), Predictor(network, tile=224, overlap=32)(image)
        changed = (whole.background - image).abs().max()
        differences[pool] = ((tiled.background - whole.background).abs().max() / changed).item()
    assert differences[32] < 0.1
    assert differences[32] < differences[None] / 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "pool", "width", "tile", "overlap", "low", "high"),
    [
        (1, 384, 1024, 576, 384, 0, 0.02),  # the default tiles
        (10, 384, 1024, 576, 384, 0, 0.4),  # an attention that depends ten times as much on the means
        (10, 384, 1408, 1024, 768, 0, 0.02),  # no pixel that counts has its window moved
        (10, None, 1024, 576, 384, 0.8, 20),  # every tile has a mean of its own
    ],
)
def test_tiles_agree_at_the_published_size(attention, pool, width, tile, overlap, low, high):
    """The largest difference, in steps of 1/256, on a photo-like image whose brightness changes along its length."""
    network = lively(channels=32, pool=pool)
    for name, value in network.named_parameters():
        if name.endswith("attention.weight"):
            value.data *= attention
    texture = torch.rand(1, 3, 6, width // 16, generator=torch.Generator().manual_seed(2))
    texture = nn.functional.interpolate(texture, (96, width), mode="bicubic")
    image = (0.6 * texture + 0.4 * torch.linspace(0, 3, width).sin()).clamp(0, 1)
    whole = Predictor(network, tile=width)(image)
    tiled = Predictor(network, tile=tile, overlap=overlap)(image)
    assert (whole.background - image).abs().max() > 0.1
    difference = max(
        (one - other).abs().max().item()
        for one, other in ((tiled.background, whole.background), (tiled.reflection, whole.reflection))
    )
    assert low <= 256 * difference <= high


def test_it_is_saved_and_loaded(tmp_path):
    network = lively()
    assert record_of(network) == {**RECORD, "encoder": [1, 1, 2, 4], "middle": 4, "decoder": [1, 1, 1, 1]}
    save_network(network, tmp_path / "net.safetensors")
    again, mixture = load_network(tmp_path / "net.safetensors"), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(again(mixture)[0], network(mixture)[0])
    assert record_of(again) == record_of(network)


@pytest.mark.slow
def test_it_is_exported(tmp_path):
    network = lively()
    assert max(export_network(network, tmp_path / "net.onnx", "onnx").values()) < 1e-4


def test_every_parameter_learns():
    network = lively().train()
    background, reflection = network(torch.rand(2, 3, 32, 32))
    (background.square().mean() + reflection.square().mean()).backward()
    assert all(value.grad is not None and value.grad.any() for value in network.parameters())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channels": 0}, "net.channels=0"),
        ({"channels": 10**9}, "net.channels=1000000000"),
        ({"channels": 2.5}, "net.channels=2.5"),
        ({"encoder": [1, 1, 1]}, "net.encoder"),
        ({"decoder": "1111"}, "net.decoder"),
        ({"middle": 10**9}, "at most 1000"),
        ({"encoder": [999, 1, 1, 1]}, "at most 1000"),
        ({"encoder": [1, 1, 1, -1]}, "whole numbers"),
        ({"pool": 8}, "net.pool=8"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        NAFNet(**settings)
