"""What a step computes, compiled and not: the same loss, gradients and statistics, in one graph for each size."""

import copy
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.networks import named
from tests.resources import require
from torch import Tensor, nn
from torch._inductor.exc import InductorError

from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.training.guards import explain
from crrn.training.objective import compiled_objective, objective

JOINT: dict[str, Any] = {
    "background": {"ssim": 0.8, "l1": 1, "derivative_l1": 1},
    "reflection": {"ssim": 1},
    "gradient": {"si": 1},
}
TOGETHER = {"exclusion": 0.1, "reconstruction": 0.1}


class Graphs:
    """A compiler that changes nothing and counts the graphs that it is given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.count += 1
        return graph.forward


def mixtures(height: int = 32, width: int = 48, known: bool = True) -> Mixture:
    layers = torch.rand(3, 2, 3, height, width)
    if known:
        return Mixture(*layers)
    formation = torch.tensor([[2.2, 0.9], [torch.nan, torch.nan]])
    return Mixture(*layers, torch.tensor([True, False]), formation)


def step(function: Any, net: nn.Module, loss: ReconstructionLoss, batch: Mixture) -> list[Tensor]:
    """The loss and its terms, all gradients, and the statistics afterwards, of a copy of the network."""
    net = copy.deepcopy(net).train()
    value, terms = function(net, loss, batch)
    value.backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    return [value.detach(), *terms.values(), *gradients, *net.buffers()]


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("architecture", "batch"),
    [
        pytest.param("crrn", mixtures(), marks=pytest.mark.slow),
        pytest.param("crrn", mixtures(35, 41, known=False), marks=pytest.mark.slow),
        ("gin", mixtures()),
        pytest.param("ceilnet", mixtures(known=False), marks=pytest.mark.slow),
    ],
)
def test_forward_and_loss_are_one_graph(architecture: str, batch: Mixture) -> None:
    net, graphs = named(architecture, 1 / 64), Graphs()
    terms: dict[str, Any] = {layer: JOINT[layer] for layer in net.estimates}
    loss = ReconstructionLoss(**terms, **(TOGETHER if "reflection" in terms else {}))
    whole = torch.compile(objective, dynamic=False, fullgraph=True, backend=graphs)
    torch.testing.assert_close(step(whole, net, loss, batch), step(objective, net, loss, batch), atol=1e-6, rtol=1e-4)
    assert graphs.count == 1


@pytest.mark.slow
def test_bfloat16_and_channels_last() -> None:
    net = named("crrn", 1 / 64).to(memory_format=torch.channels_last)
    loss, batch = ReconstructionLoss(**JOINT), mixtures()
    whole = torch.compile(objective, dynamic=False, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        compiled, plain = (step(function, net, loss, batch) for function in (whole, objective))
    assert compiled[0].dtype == torch.float32
    torch.testing.assert_close(compiled, plain, atol=2e-2, rtol=2e-2)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, mixture: Tensor) -> Tensor:
        return self.conv(mixture)


def test_each_size_has_its_graph_however_many_there_are() -> None:
    net, loss, graphs = Tiny(), ReconstructionLoss({"l1": 1}), Graphs()
    function = compiled_objective(graphs)
    for _ in range(2):
        for width in range(32, 42):
            function(net, loss, mixtures(width=width))
    assert graphs.count == 10


def test_what_cannot_be_compiled_is_one_sentence() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    with pytest.raises(RuntimeError) as failed:
        compiled_objective(broken)(Tiny(), ReconstructionLoss({"l1": 1}), mixtures())
    module: Any = SimpleNamespace(trainer=SimpleNamespace(global_step=0))
    sentence = explain(failed.value, module)
    assert sentence is not None and "RuntimeError: no C++ compiler): give compile=false" in sentence
    lacking = InductorError(RuntimeError("No working C++ compiler found"), None)
    assert "compile=false" in str(explain(lacking, module))
    assert explain(RuntimeError("another"), module) is None


@pytest.mark.slow
def test_the_compiler_itself() -> None:
    require("compiler", shutil.which("g++") is not None)
    net, loss, batch = Tiny(), ReconstructionLoss({"ssim": 0.8, "l1": 1}), mixtures()
    compiled, plain = (step(function, net, loss, batch) for function in (compiled_objective(), objective))
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-3)
