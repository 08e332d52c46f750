"""What the networks do to images: any size, identity before training, widths, gradients, memory formats."""

import pytest
import torch
from tests.networks import named
from torch import nn

from crrn.errors import ConfigError
from crrn.nets import CRRN, GiN, IiN, build_network, record_of
from crrn.nets.network import gradient_of

ARCHITECTURES = ("crrn", "iin", "gin")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (33, 47), (64, 96), (224, 288)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_size_comes_back(trained, architecture, height, width):
    mixture = torch.rand(2, 3, height, width)
    with torch.no_grad():
        layers = trained(architecture)(mixture)
    for layer in layers:
        assert layer is None or (layer.shape[-2:] == mixture.shape[-2:] and layer.isfinite().all())
    if layers.gradient is not None:
        assert layers.gradient.shape[1] == 1


@pytest.mark.parametrize("architecture", ["crrn", "gin"])
def test_the_sigmoid_head_stays_in_its_range_and_the_additive_one_does_not(architecture):
    mixture, ranges = torch.rand(2, 3, 33, 47), {}
    for head in ("sigmoid", "additive"):
        network = named(architecture, 1 / 32, head=head).eval()
        output = network.get_submodule("gin.output" if architecture == "crrn" else "output")
        nn.init.constant_(output.bias, 3.0)
        with torch.no_grad():
            gradient = network(mixture).gradient
        ranges[head] = gradient.min().item(), gradient.max().item()
    assert ranges["sigmoid"][0] >= 0 and ranges["sigmoid"][1] <= 1
    assert ranges["additive"][0] >= 3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 47), (64, 96)])
@pytest.mark.parametrize("architecture", ["crrn", "gin"])
def test_an_untrained_additive_head_gives_the_gradient_of_its_input(architecture, height, width):
    mixture = torch.rand(2, 3, height, width)
    network = named(architecture, 1 / 32).eval()
    with torch.no_grad():
        assert torch.equal(network(mixture).gradient, gradient_of(network, mixture))


def test_the_additive_head_learns_where_an_edge_is_saturated():
    """The correction moves at once where the input's own gradient is 1, which a clip or a sigmoid would prevent."""
    network = GiN(1 / 32).eval()
    mixture = torch.zeros(1, 3, 32, 32)
    mixture[..., 16:] = 1
    gradient = network(mixture).gradient
    assert gradient[..., 16].eq(1).all()
    gradient[..., 16].sum().backward()
    assert network.output.bias.grad.item() == pytest.approx(32)


def test_refuses_unknown_heads():
    with pytest.raises(ConfigError, match=r"net\.head=tanh"):
        GiN(1 / 32, head="tanh")


def test_the_encoder_has_its_own_width():
    with torch.device("meta"):
        network, narrow = CRRN(0.25, encoder_width=1.0), CRRN(0.25)
    assert network.iin.encoder.channels == [64, 128, 256, 512, 512]
    assert network.iin.head[-1].in_channels == narrow.iin.head[-1].in_channels == 8
    assert network.gin.state_dict().keys() == narrow.gin.state_dict().keys()
    with torch.no_grad():
        layers = CRRN(1 / 32, encoder_width=1 / 16).eval()(torch.rand(1, 3, 33, 47))
    assert layers.background.shape == (1, 3, 33, 47)
    with pytest.raises(ConfigError, match=r"net\.encoder_width=0"):
        IiN(1 / 32, encoder_width=0)


@pytest.mark.parametrize("architecture", ["crrn", "iin"])
@pytest.mark.parametrize("training", [True, False])
def test_an_untrained_network_is_the_identity(architecture, training):
    mixture = torch.rand(2, 3, 70, 65)
    layers = named(architecture, 1 / 32).train(training)(mixture)
    assert torch.equal(layers.background, mixture)
    assert torch.equal(layers.reflection, torch.zeros_like(mixture))


def test_padding_is_invisible_where_there_is_none(trained):
    """CRRN of a padded image, cropped, is CRRN of the image."""
    from crrn.image.padding import pad_to_multiple

    network, mixture = trained("crrn"), torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        whole, direct = network(pad_to_multiple(mixture, 32)), network(mixture)
    for name, padded, layer in zip(direct._fields, whole, direct, strict=True):
        # the gradient of the input itself ends at its own border
        kept = (slice(0, 39), slice(0, 49)) if name == "gradient" else (slice(0, 40), slice(0, 50))
        assert torch.equal(padded[..., *kept], layer[..., *kept])


@pytest.mark.parametrize(("width", "first", "up"), [(0.25, 16, 3 * 64), (0.5, 32, 3 * 128), (2, 128, 3 * 512)])
def test_width_multiplies_the_channels(width, first, up):
    with torch.device("meta"):
        network = CRRN(width)
    assert network.gin.encoder[0][0][0].out_channels == first
    assert network.iin.encoder.features[0].out_channels == first
    assert network.iin.upsampling[0][0].out_channels == up
    assert network.iin.head[-1].out_channels == 6


def test_a_quarter_of_the_width_has_the_known_number_of_parameters():
    with torch.device("meta"):
        network = CRRN(0.25)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_741_919


def test_no_width_leaves_a_layer_without_channels():
    with torch.no_grad():
        layers = CRRN(1e-6).eval()(torch.rand(1, 3, 32, 32))
    assert layers.background.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_refuses_other_widths(architecture, width):
    with pytest.raises(ConfigError, match=r"net\.width="):
        named(architecture, width)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_record_rebuilds_the_structure(architecture):
    network = named(architecture, 1 / 32)
    again = build_network(record_of(network))
    assert record_of(again) == record_of(network)
    assert type(again) is type(network)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_channels_last_gives_the_same_result(trained, architecture):
    network = trained(architecture)
    other = named(architecture, 1 / 32).to(memory_format=torch.channels_last).eval()
    other.load_state_dict(network.state_dict())
    network, other = network.double(), other.double()  # in double precision the order of sums is not seen
    weight = other.get_parameter("gin.encoder.0.1.0.weight" if architecture == "crrn" else _convolution(other))
    assert weight.is_contiguous(memory_format=torch.channels_last)
    mixture = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for expected, result in zip(network(mixture), other(mixture), strict=True):
            assert (expected is None) == (result is None)
            if expected is not None:
                torch.testing.assert_close(result, expected, atol=1e-9, rtol=1e-9)


def _convolution(network: nn.Module) -> str:
    return next(name for name, value in network.named_parameters() if value.dim() == 4 and value.shape[-1] > 1)


@pytest.mark.slow
def test_compile_keeps_the_keys_and_the_result(trained):
    network, compiled = trained("gin"), GiN(1 / 32).eval()
    compiled.compile(backend="eager")
    assert compiled.state_dict().keys() == network.state_dict().keys()
    compiled.load_state_dict(network.state_dict())
    mixture = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        # the last convolution sums in another order when it is compiled
        torch.testing.assert_close(compiled(mixture).gradient, network(mixture).gradient, atol=1e-4, rtol=1e-4)


def test_every_parameter_learns():
    network = CRRN(1 / 32)
    for output in (network.iin.head[-1], network.gin.output):
        nn.init.normal_(output.weight, std=0.1)
    layers = network(torch.rand(2, 3, 64, 64))
    sum(layer.square().sum() for layer in layers).backward()
    still = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert still == []
    # Guidance is not detached: the image loss alone moves GiN.
    network.zero_grad()
    network(torch.rand(2, 3, 64, 64)).background.square().sum().backward()
    assert network.gin.encoder[0][0][0].weight.grad.abs().sum() > 0


def test_the_first_step_from_zero_moves_the_head():
    network = IiN(1 / 32)
    network(torch.rand(2, 3, 64, 64)).background.square().sum().backward()
    assert network.head[-1].weight.grad.abs().sum() > 0


def test_under_autocast_the_outputs_keep_the_mixtures_precision(trained):
    mixture = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layers = trained("crrn")(mixture)
        untouched = CRRN(1 / 32).eval()(mixture)
    assert all(layer.dtype == torch.float32 for layer in layers)
    assert torch.equal(untouched.background, mixture)


def test_the_same_seed_gives_the_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(CRRN(1 / 32).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
