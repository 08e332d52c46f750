"""Every row of the specification's layer tables, read off the running network, and its number of parameters."""

import pytest
import torch
from torch import nn

from crrn.layers import Layers
from crrn.nets import CRRN, GiN, IiN

HEIGHT, WIDTH = 96, 160

GIN = {  # module: (scale, channels in, channels out)
    "encoder.0.0": (1, 4, 64),
    "encoder.0.1": (1 / 2, 64, 64),
    "encoder.1.0": (1 / 2, 64, 128),
    "encoder.1.1": (1 / 4, 128, 128),
    "encoder.2.0": (1 / 4, 128, 256),
    "encoder.2.1": (1 / 8, 256, 256),
    "encoder.3.0": (1 / 8, 256, 512),
    "encoder.3.1": (1 / 16, 512, 512),
    "encoder.4.0": (1 / 16, 512, 512),
    "encoder.4.1": (1 / 32, 512, 512),
    "bridge": (1 / 32, 512, 512),
    "decoder.0.0": (1 / 32, 512, 256),
    "decoder.0.1": (1 / 16, 256, 256),
    "decoder.1.0": (1 / 16, 768, 128),
    "decoder.1.1": (1 / 8, 128, 128),
    "decoder.2.0": (1 / 8, 384, 64),
    "decoder.2.1": (1 / 4, 64, 64),
    "decoder.3.0": (1 / 4, 192, 32),
    "decoder.3.1": (1 / 2, 32, 32),
    "decoder.4.0": (1 / 2, 96, 64),
    "decoder.4.1": (1, 64, 64),
    "output": (1, 64, 1),
}

IIN = {
    "encoder.features.4": (1 / 2, 64, 64),  # the five pools
    "encoder.features.9": (1 / 4, 128, 128),
    "encoder.features.16": (1 / 8, 256, 256),
    "encoder.features.23": (1 / 16, 512, 512),
    "encoder.features.30": (1 / 32, 512, 512),
    "bottleneck": (1 / 32, 512, 256),
    "feature_a": (1 / 32, 256, 576),
    "upsampling.0": (1 / 16, 576, 3 * 256),
    "upsampling.1": (1 / 8, 1536, 3 * 128),
    "feature_b": (1 / 8, 768, 640),
    "upsampling.2": (1 / 4, 640, 3 * 64),
    "upsampling.3": (1 / 2, 384, 3 * 32),
    "upsampling.4": (1, 192, 3 * 16),
    "head.0": (1, 112, 32),
    "head.1": (1, 32, 6),
}

IIN_ALONE = IIN | {  # each concatenation less GiN's 256, 128, 64, 32, 64
    "upsampling.1": (1 / 8, 1280, 3 * 128),
    "feature_b": (1 / 8, 640, 640),
    "upsampling.3": (1 / 2, 320, 3 * 32),
    "upsampling.4": (1, 160, 3 * 16),
    "head.0": (1, 48, 32),
}


def on_meta(build: type[nn.Module]) -> nn.Module:
    """Shapes without memory or arithmetic."""
    with torch.device("meta"):
        return build()


def seen(network: nn.Module) -> dict[str, tuple[float, int, int]]:
    """For each module that is called: (output scale, channels in, channels out)."""
    rows = {}

    def watch(name: str):
        def hook(_, inputs, output):
            if isinstance(output, torch.Tensor) and output.shape[2] / HEIGHT == output.shape[3] / WIDTH:
                rows[name] = (output.shape[2] / HEIGHT, inputs[0].shape[1], output.shape[1])

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(watch(name))
    network(torch.rand(2, 3, HEIGHT, WIDTH, device="meta"))
    return rows


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_table_of_gin():
    rows = seen(on_meta(GiN))
    assert {name: rows[name] for name in GIN} == GIN


def test_table_of_iin_within_crrn():
    rows = seen(on_meta(CRRN))
    assert {name: rows[f"iin.{name}"] for name in IIN} == IIN
    assert {name: rows[f"gin.{name}"] for name in GIN} == GIN


def test_without_gradient_features_the_concatenations_shrink():
    rows = seen(on_meta(IiN))
    assert {name: rows[name] for name in IIN_ALONE} == IIN_ALONE


def test_branches_of_the_feature_extractions():
    network = on_meta(IiN)
    kernels = {
        name: [[(block[0].kernel_size, block[0].out_channels) for block in branch] for branch in feature.branches]
        for name, feature in (("a", network.feature_a), ("b", network.feature_b))
    }
    one, three, seven = (1, 1), (3, 3), (7, 7)
    assert kernels["a"] == [
        [(one, 96), (seven, 192)],
        [(three, 192)],
        [(one, 256), (three, 256), (three, 192)],
    ]
    assert kernels["b"] == [
        [(one, 128), (seven, 192)],
        [(one, 128), (three, 192)],
        [(one, 128), (three, 128)],
        [(one, 128), (three, 128), (three, 128)],
    ]


def test_every_convolution_but_the_outputs_and_vgg_is_normalised_and_unbiased():
    network = on_meta(CRRN)
    biased = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None
    }
    vgg = {name for name in biased if name.startswith("iin.encoder.features.")}
    assert len(vgg) == 13
    assert biased - vgg == {"gin.output", "iin.head.1"}
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert (module.kernel_size, module.stride) == ((4, 4), (2, 2))
    assert network.gin.output.kernel_size == (5, 5)
    convolutions = [module for module in network.gin.encoder.modules() if isinstance(module, nn.Conv2d)]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in convolutions] == [(3, 1), (4, 2)] * 5


def test_numbers_of_parameters():
    network = on_meta(CRRN)
    counts = {name: parameters(part) for name, part in (("gin", network.gin), ("iin", network.iin), ("all", network))}
    assert counts == {"gin": 19_899_073, "iin": 39_884_070, "all": 59_783_143}
    assert [round(count / 1e6, 1) for count in counts.values()] == [19.9, 39.9, 59.8]
    assert parameters(on_meta(IiN)) == 38_104_358


def test_the_vgg_layers_are_named_and_shaped_as_torchvisions():
    from torchvision.models import vgg16

    with torch.device("meta"):
        expected = vgg16().features.state_dict()
        own = IiN().encoder.features.state_dict()
    assert {name: value.shape for name, value in own.items()} == {n: v.shape for n, v in expected.items()}


def test_parallel_transposed_convolutions_equal_one(trained):
    """The three of the first level, written out one by one."""
    merged = trained("iin").upsampling[0]
    convolution, norm, _ = merged
    x = torch.rand(2, convolution.in_channels, 3, 4)
    third = convolution.out_channels // 3
    parts = []
    for k in range(3):
        own = slice(k * third, (k + 1) * third)
        y = nn.functional.conv_transpose2d(x, convolution.weight[:, own], stride=2, padding=1)
        statistics = (norm.running_mean[own], norm.running_var[own], norm.weight[own], norm.bias[own])
        parts.append(nn.functional.batch_norm(y, *statistics).relu())
    torch.testing.assert_close(merged(x), torch.cat(parts, dim=1))


def test_layers_are_what_is_promised():
    mixture = torch.rand(2, 3, HEIGHT, WIDTH, device="meta")
    present = {build: on_meta(build)(mixture) for build in (CRRN, IiN, GiN)}
    assert all(layer is not None for layer in present[CRRN])
    assert present[IiN].gradient is None
    assert present[GiN] == Layers(gradient=present[GiN].gradient)


def test_gradient_features_are_asked_for_and_refused():
    mixture = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match="gradient_features=False"):
        IiN(1 / 32)(mixture, [mixture] * 5)
    with pytest.raises(ValueError, match="gradient_features=True"):
        IiN(1 / 32, gradient_features=True)(mixture)
