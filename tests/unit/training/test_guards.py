"""A step that is not finite is left out on the device: weights, momenta, statistics."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn

from crrn.training.guards import LATER, NonFinite, NonFiniteLoss


class Module(L.LightningModule):
    """A normalisation and a layer, trained by hand as Lightning would."""

    def __init__(self, make: Callable[..., torch.optim.Optimizer], policy: str = "skip", **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.name = "joint"
        self.guard = NonFinite(policy)
        self.steps = make(self.net.parameters(), lr=0.1, **settings)
        self.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_step=0,
            current_epoch=0,
            precision_plugin=SimpleNamespace(scaler=None),
            strategy=SimpleNamespace(reduce=lambda value, reduce_op: value, all_gather=lambda value: value),
        )

    def step(self, *batches: Tensor, gradient: float = 0.0) -> None:
        """A step on some batches whose gradients are accumulated; ``gradient`` is added to one of them."""
        self.steps.zero_grad()
        for batch in batches:
            self.guard.before(self.net)
            loss = self.net(batch).square().mean()
            self.guard.after(torch.stack([loss.detach(), loss.detach()]))
            loss.backward()
        weight = self.net[0].weight
        assert weight.grad is not None
        weight.grad[0, 0] += gradient
        self.guard.before_step(self, self.steps, ["loss", "background_l1"])
        self.steps.step()
        self.trainer.global_step += 1

    def state(self) -> list[Tensor]:
        states = [value for state in self.steps.state.values() for value in state.values()]
        return [value.clone() for value in (*self.net.state_dict().values(), *states)]


GOOD = torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(0))
BAD = GOOD[0].where(GOOD[0] > -2, torch.nan).index_fill(0, torch.tensor([1]), torch.nan)

OPTIMIZERS = [
    (torch.optim.Adam, {"fused": True}),
    (torch.optim.AdamW, {"fused": True, "weight_decay": 0.1}),
    (torch.optim.SGD, {"momentum": 0.9}),
]


@pytest.mark.filterwarnings("ignore:The loss or its gradient is not finite")
@pytest.mark.parametrize(("make", "settings"), OPTIMIZERS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize(
    ("batches", "gradient"),
    [((BAD,), 0.0), ((GOOD[4], BAD), 0.0), ((BAD, GOOD[4]), 0.0), ((GOOD[4],), torch.inf), ((GOOD[4],), torch.nan)],
    ids=["loss", "second of two", "first of two", "infinite gradient", "no gradient"],
)
def test_a_step_is_left_out_whole(make: Any, settings: dict[str, Any], batches: Any, gradient: float) -> None:
    skipping, healthy = Module(make, **settings), Module(make, **settings)
    for module in (skipping, healthy):
        module.step(GOOD[0])
        module.step(GOOD[1], GOOD[2])
    before = skipping.state()
    skipping.step(*batches, gradient=gradient)
    assert all(torch.equal(a, b) for a, b in zip(skipping.state(), before, strict=True))
    assert skipping.guard.skipped == 1
    for module in (skipping, healthy):
        module.step(GOOD[3])
    assert all(torch.equal(a, b) for a, b in zip(skipping.state(), healthy.state(), strict=True))


def test_other_steps_are_those_without_a_guard() -> None:
    guarded, plain = Module(torch.optim.Adam, fused=True), Module(torch.optim.Adam, fused=True)
    for batch in GOOD:
        guarded.step(batch)
        plain.steps.zero_grad()
        plain.net(batch).square().mean().backward()
        plain.steps.step()
    assert all(torch.equal(a, b) for a, b in zip(guarded.state(), plain.state(), strict=True))


@pytest.mark.parametrize(
    ("batch", "gradient", "words"),
    [(BAD, 0.0, r"loss .*\(loss, background_l1\)"), (GOOD[1], torch.inf, "gradient")],
)
def test_stopping_names_the_step_before_the_weights_are_touched(batch: Tensor, gradient: float, words: str) -> None:
    module = Module(torch.optim.Adam, "stop", fused=True)
    module.step(GOOD[0])
    before = module.state()
    with pytest.raises(NonFiniteLoss, match=rf"{words}.* step 2 of stage joint \(epoch 1\).*non_finite=skip"):
        module.step(batch, gradient=gradient)
    assert all(torch.equal(a, b) for a, b in zip(module.state(), before, strict=True))


def test_where_the_device_tells_later_the_step_is_left_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: what was found is read steps later, and what is not finite has not touched anything meanwhile."""
    module = Module(torch.optim.Adam, "stop", fused=True)
    read = NonFinite.read
    monkeypatch.setattr(NonFinite, "read", lambda self, module, later=0: read(self, module, LATER))
    module.step(GOOD[0])
    before = module.state()
    module.step(BAD)
    assert all(torch.equal(a, b) for a, b in zip(module.state(), before, strict=True))
    for _ in range(LATER - 1):
        module.step(GOOD[1])
    with pytest.raises(NonFiniteLoss, match="step 2 of stage joint"):
        module.step(GOOD[1])
    assert all(value.isfinite().all() for value in module.state())


def test_with_a_gradient_scaler_only_losses_are_looked_at() -> None:
    module = Module(torch.optim.SGD)
    module.trainer.precision_plugin.scaler = object()
    module.step(GOOD[0], gradient=torch.inf)
    assert module.guard.skipped == 0
    with pytest.warns(RuntimeWarning, match="step 2 of stage joint"):
        module.step(BAD)
    assert all(buffer.isfinite().all() for buffer in module.net.buffers())
