"""Any nn.Module is a network: what crrn asks of one, and what it takes where the network does not answer."""

import pytest
import torch
from torch import nn

from crrn.errors import CheckpointError, ConfigError, ExportError
from crrn.image.gradient import gradient_magnitude
from crrn.inference.memory import bytes_per_pixel
from crrn.inference.predictor import Predictor
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.nets import CRRN, estimate, estimates_of, load_network, save_network
from crrn.nets.network import gradient_of, monitor_of, stages_of, training_estimate
from crrn.nets.record import set_record
from crrn.training import Optimizer, StageTraining
from crrn.training.schedules import multistep


class Returns(nn.Module):
    """Gives what a function makes of the mixture."""

    def __init__(self, make):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.make = make

    def forward(self, mixture):
        return self.make(mixture)


class Halves(nn.Module):
    """Halves the image and doubles it again: needs even sides."""

    multiple = 2

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 2, stride=2)
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, mixture):
        return mixture - self.norm(self.up(self.down(mixture)))


OUTPUTS = [
    (lambda x: x / 2, ("background",)),
    (lambda x: (x / 2, x / 4), ("background", "reflection")),
    (lambda x: [x / 2, x / 4], ("background", "reflection")),
    (lambda x: (x / 2, None), ("background",)),
    (lambda x: Layers(x / 2, gradient=x[:, :1]), ("background", "gradient")),
]


@pytest.mark.parametrize(("make", "layers"), OUTPUTS)
def test_outputs_become_layers(make, layers):
    network, mixture = Returns(make), torch.rand(2, 3, 5, 7)
    assert estimates_of(network) == layers
    assert monitor_of(network) == "val/background_ssim"
    found = estimate(network, mixture)
    assert tuple(name for name, value in found._asdict().items() if value is not None) == layers
    assert torch.equal(found.background, mixture / 2)
    assert torch.equal(training_estimate(network, mixture, mixture).background, mixture / 2)
    assert list(stages_of(network)) == ["joint"] and stages_of(network)["joint"] is network
    assert torch.equal(gradient_of(network, mixture), gradient_magnitude(mixture))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: (x, x, x), "a tuple of 3"),
        (lambda x: {"background": x}, "a dict"),
        (lambda x: None, "a NoneType"),
        (lambda x: x[..., 1:], r"shape \(1, 3, 5, 6\)"),
        (lambda x: x[:, :1], r"where \(1, 3, 5, 7\) is needed"),
        (lambda x: nn.functional.interpolate(x, scale_factor=2), "multiple = 32"),
    ],
)
def test_other_outputs_are_refused_in_one_sentence(make, words):
    with pytest.raises(ConfigError, match=words):
        estimate(Returns(make), torch.rand(1, 3, 5, 7))


def test_a_side_that_must_divide_is_padded():
    network = Halves().eval()
    mixture = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        found = estimate(network, mixture).background
        direct = network(nn.functional.pad(mixture, (0, 1, 0, 1), mode="reflect"))
    torch.testing.assert_close(found, direct[..., :7, :9])


def test_the_probe_leaves_no_trace():
    network = Halves()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert estimates_of(network) == ("background",)
    assert network.training and network.up.training and not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_half_precision_comes_back_in_the_mixtures():
    mixture = torch.rand(1, 3, 8, 8)
    assert estimate(Returns(lambda x: x.bfloat16()), mixture).background.dtype == torch.float32


def test_it_is_trained_and_validated_by_what_it_estimates():
    network = Halves()
    stage = StageTraining(network, ReconstructionLoss({"l1": 1}), Optimizer("torch.optim.SGD"), 1e-3, multistep)
    batch = Mixture(*torch.rand(3, 2, 3, 32, 48))
    estimated = stage.validation_step(batch, 0)
    assert estimated.reflection is None and estimated.gradient is None
    values = stage.validation["val"].compute()
    assert "background_ssim" in values and "identity_background_ssim" in values
    assert not any(name.startswith(("reflection", "gradient", "identity_gradient")) for name in values)
    of_all = ReconstructionLoss({"l1": 1}, {"ssim": 1}, {"si": 1})
    with pytest.raises(ConfigError, match=r"loss\.reflection=null loss\.gradient=null"):
        StageTraining(network, of_all, Optimizer("torch.optim.SGD"), 1e-3, multistep)
    loss = ReconstructionLoss({"l1": 1})
    with pytest.raises(ConfigError, match="val/gradient_si"):
        StageTraining(network, loss, Optimizer("torch.optim.SGD"), 1e-3, multistep, "val/gradient_si")


def test_prediction_measures_its_memory_and_tiles_it():
    network = Halves().eval()
    # at once: the image's difference and two tensors of half its sides with 8 channels or of its own size with 3
    assert 20 < bytes_per_pixel(network) < 120
    mixture = torch.rand(1, 3, 300, 250)
    whole = Predictor(network)(mixture).background
    tiled = Predictor(network, tile=224, overlap=32)(mixture).background
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    assert Predictor(network).remover is network  # nothing of it is folded


def test_the_measured_memory_of_crrn_is_about_the_known():
    network = Predictor(CRRN(0.25).eval()).remover
    from crrn.inference.memory import measured

    assert 0.6 < measured(network) / network.bytes_per_pixel < 1.6


class Loose(nn.Module):
    """Promises what it does not keep."""

    builds_on_meta = True
    folds_batch_norm = True

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5), persistent=False)

    def forward(self, mixture):
        return mixture + self.norm(mixture - self.mean)


def test_a_promise_that_is_not_kept_is_said_in_one_sentence(tmp_path):
    network = Loose().eval()
    set_record(network, Loose, {})
    save_network(network, tmp_path / "loose.safetensors")
    with pytest.raises(CheckpointError, match=r"does not hold mean of its Loose: .*builds_on_meta"):
        load_network(tmp_path / "loose.safetensors", plugins=["tests"])
    with pytest.raises(ExportError, match=r"normalisation norm follows no convolution .*folds_batch_norm"):
        Predictor(network)
