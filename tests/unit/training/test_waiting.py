"""No part of a training step waits for a GPU. Found without one: see `tests.fake_cuda`."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.fake_cuda import Waits, Watch, fake_cuda, on_cuda

from crrn import mixing
from crrn.data.batch import Sample, TakenPair, TwoPhotos, collate, form
from crrn.data.device import DevicePhotos
from crrn.data.plan import Geometry
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.nets import CRRN
from crrn.nets.network import gradient_of
from crrn.training.ema import EMA
from crrn.training.guards import NonFinite

SIZE = (64, 96)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0], device="cuda"),
        lambda x: x[torch.tensor([0], device="cpu")],
        lambda x: x.nonzero(),
        lambda x: torch.zeros(4, 3, device="cpu").copy_(x),
        lambda x: torch.from_numpy(np.zeros(3)).to("cuda"),
    ],
)
def test_what_waits_is_found(wait: Callable[[torch.Tensor], Any]) -> None:
    with fake_cuda():
        x = torch.empty(4, 3)
        with pytest.raises(Waits), Watch():
            wait(x)
        with Watch():
            x.to("cpu", non_blocking=True)
            x[x.argsort(0)[0]].sum().add_(1)


MODELS = {
    "paper": mixing.PaperMixing,
    "ceilnet": mixing.CEILNetMixing,
    "linear": mixing.LinearMixing,
    "gamma": mixing.GammaMixing,
    "fresnel": mixing.FresnelMixing,
    "screen": mixing.ScreenMixing,
    "ghosting": mixing.GhostingMixing,
    "transfer": mixing.TransferMixing,
}


def photo_model() -> mixing.PhotoMixing:
    return mixing.PhotoMixing({name: make() for name, make in MODELS.items()}, dict.fromkeys(MODELS, 1.0))


def samples(model: Any, place: Callable[[int], Any], pairs: int = 2) -> Any:
    rng = np.random.default_rng(0)
    rows = [Sample(TwoPhotos(place(2 * k), place(2 * k + 1), model.draw(rng)), k, []) for k in range(8)]
    ones = np.ones(3, np.float32)
    for k in range(pairs):
        pair = TakenPair(place(k), place(k + 1), place(k + 2) if k else None, (1 + k) * ones)
        rows.insert(3 * k, Sample(pair, 100 + k, []))
    return collate(rows)


def uint8_photo(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", [*MODELS, "photo"])
def test_forming_mixtures(name: str) -> None:
    model: Any = photo_model() if name == "photo" else MODELS[name]()
    batch = samples(model, uint8_photo)
    with fake_cuda():
        batch = on_cuda(batch)
        with Watch():
            made = form(batch, model)
    assert made.mixture.shape == (10, 3, *SIZE) and made.mixture.is_cuda


def test_cutting_photos_that_the_device_keeps() -> None:
    model = mixing.PaperMixing()
    sizes = [(80 + number, 120) for number in range(20)]
    kept = DevicePhotos(sizes, torch.device("cpu"))
    places = kept.fill(partial(np.zeros, (*size, 3), np.uint8) for size in sizes)

    def cut(number: int) -> Any:
        place: Any = places[number]
        return place.cut(SIZE, Geometry(0.5, (0.2, 0.3), number % 2 == 0, 5.0 * (number % 3)))

    batch = samples(model, cut)
    with fake_cuda():
        batch = on_cuda(batch)
        kept.device = torch.device("cuda")
        for name, value in vars(kept).items():
            setattr(kept, name, on_cuda(value))
        with Watch():
            made = form(batch, model, kept)
    assert made.mixture.shape == (10, 3, *SIZE) and made.mixture.is_cuda


LOSS = ReconstructionLoss({"ssim": 0.8, "l1": 1, "derivative_l1": 1}, {"ssim": 1, "mse": 1}, {"si": 1})


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_step_of_network_loss_guard_optimizer_and_average(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is read later is copied to pinned memory, which needs a real GPU.
    monkeypatch.setattr("crrn.training.guards.Reading", lambda values: SimpleNamespace(get=values.cpu))
    with fake_cuda():
        net = CRRN(width=0.05)
        net.train()
        module: Any = SimpleNamespace(
            parameters=net.parameters,
            trainer=SimpleNamespace(
                global_step=0,
                current_epoch=0,
                precision_plugin=SimpleNamespace(scaler=None),
                strategy=SimpleNamespace(reduce=lambda value, reduce_op: value),
            ),
        )
        guard, average = NonFinite(policy), EMA(0.9)
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        average.on_fit_start(module.trainer, net)  # type: ignore[arg-type]
        known = torch.ones(2, dtype=torch.bool)
        for _ in range(3):
            batch = mixing.Mixture(*torch.rand(3, 2, 3, 64, 64), known)
            with Watch():
                guard.before(net)
                targets = Layers(batch.background, batch.reflection, gradient_of(net, batch.background))
                loss, terms = LOSS(net(batch.mixture), targets, batch)
                guard.after(torch.stack([loss.detach(), *terms.values()]))
                # In place of the backward pass, which needs a real GPU; tests/gpu has it.
                for parameter in net.parameters():
                    parameter.grad = torch.empty_like(parameter)
                guard.before_step(module, optimizer, ["loss", *terms])
                optimizer.step()
                average.update()
    assert loss.is_cuda and average.updates == 3
