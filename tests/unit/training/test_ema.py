from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn

from crrn.errors import ConfigError
from crrn.training.ema import EMA


class Module(L.LightningModule):
    """A weight, and a normalisation with statistics and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.norm = nn.BatchNorm1d(2)


def begun(ema: EMA, module: Module, step: int = 0) -> Any:
    trainer: Any = SimpleNamespace(global_step=step)
    ema.on_fit_start(trainer, module)
    ema.on_train_start(trainer, module)
    return trainer


def take_step(ema: EMA, trainer: Any, module: Module, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)
        module.norm.running_mean.fill_(-value)
        module.norm.num_batches_tracked.add_(1)
    trainer.global_step += 1
    ema.on_train_batch_end(trainer, module, None, None, 0)


def average(ema: EMA, trainer: Any, module: Module) -> dict[str, Tensor]:
    """The average, as a checkpoint holds it."""
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    ema.on_save_checkpoint(trainer, module, checkpoint)
    return checkpoint["state_dict"]


def test_the_decay_warms_up_to_its_value():
    ema, module = EMA(0.9), Module()
    trainer = begun(ema, module)
    expected = 0.0
    for step in range(1, 200):
        decay = min(0.9, step / (9 + step)) if step > 1 else 0.0
        expected = decay * expected + (1 - decay) * step
        take_step(ema, trainer, module, step)
        averaged = average(ema, trainer, module)
        assert averaged["weight"][0].item() == pytest.approx(expected, rel=1e-5)
        assert averaged["norm.running_mean"][0].item() == pytest.approx(-expected, rel=1e-5)
    # a constant 0.9 from the start would end at the same place: 200 steps forget how it began
    assert 188 < expected < 191
    assert averaged["norm.num_batches_tracked"].item() == 199


def test_the_average_lives_on_the_device_of_the_weights():
    ema, module = EMA(0.9), Module().to("meta")
    trainer = begun(ema, module)
    assert {value.device.type for value in average(ema, trainer, module).values()} == {"meta"}


def test_only_optimizer_steps_count():
    ema, module = EMA(0.9), Module()
    trainer = begun(ema, module)
    take_step(ema, trainer, module, 1)
    ema.on_train_batch_end(trainer, module, None, None, 1)  # a batch whose gradient is accumulated
    assert ema.updates == 1


def test_a_validation_sees_the_average_and_training_goes_on_without_it():
    ema, module = EMA(0.5), Module()
    trainer = begun(ema, module)
    for step in range(1, 4):
        take_step(ema, trainer, module, step)
    averaged = average(ema, trainer, module)["weight"].clone()
    ema.on_validation_epoch_start(trainer, module)
    assert torch.equal(module.weight, averaged) and module.norm.num_batches_tracked.item() == 3
    ema.on_validation_epoch_end(trainer, module)
    assert module.weight.tolist() == [3, 3, 3]
    assert torch.equal(average(ema, trainer, module)["weight"], averaged)
    ema.on_train_end(trainer, module)
    assert torch.equal(module.weight, averaged)


def test_a_checkpoint_holds_both_and_a_resumed_average_goes_on_alike():
    whole, stopped, module, other = EMA(0.5), EMA(0.5), Module(), Module()
    trainers = begun(whole, module), begun(stopped, other)
    for step in range(1, 3):
        take_step(whole, trainers[0], module, step)
        take_step(stopped, trainers[1], other, step)
    checkpoint: dict[str, Any] = {"state_dict": other.state_dict()}
    stopped.on_save_checkpoint(trainers[1], other, checkpoint)
    assert checkpoint["current_model_state"]["weight"][0] == 2 > checkpoint["state_dict"]["weight"][0]

    resumed, fresh = EMA(0.5), Module()
    fresh.load_state_dict(checkpoint["state_dict"])
    resumed.load_state_dict(stopped.state_dict())
    resumed.on_load_checkpoint(trainers[1], fresh, checkpoint)
    assert fresh.weight[0] == 2
    trainer = begun(resumed, fresh, step=2)
    take_step(whole, trainers[0], module, 7)
    take_step(resumed, trainer, fresh, 7)
    given = average(resumed, trainer, fresh)
    for name, value in average(whole, trainers[0], module).items():
        assert torch.equal(given[name], value)


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5, "much"])
def test_a_decay_out_of_range_is_refused(decay: Any):
    with pytest.raises(ConfigError, match="ema_decay"):
        EMA(decay)
