"""Which parameters are trained, and at which rate."""

import pytest
import torch

from crrn.errors import ConfigError
from crrn.losses import ReconstructionLoss
from crrn.nets import CRRN
from crrn.training import Optimizer, StageTraining
from crrn.training.schedules import multistep, one_cycle


def test_groups_by_the_innermost_module():
    network = CRRN(1 / 32)
    make = Optimizer("torch.optim.AdamW", lr_mult={"iin": 0.5, "iin.encoder": 0.1}, weight_decay=0.2)
    optimizer = make(network, 1e-3)
    assert type(optimizer) is torch.optim.AdamW
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-4, 5e-4])
    assert all(group["weight_decay"] == 0.2 for group in optimizer.param_groups)
    parts = [{id(parameter) for parameter in group["params"]} for group in optimizer.param_groups]
    assert parts[0] == {id(parameter) for parameter in network.gin.parameters()}
    assert parts[1] == {id(parameter) for parameter in network.iin.encoder.parameters()}
    assert sum(map(len, parts)) == len(list(network.parameters()))


@pytest.mark.parametrize("schedule", [multistep, one_cycle])
def test_a_schedule_moves_every_group(schedule):
    optimizer = Optimizer("torch.optim.SGD", lr_mult={"gin": 0.1})(CRRN(1 / 32), 1.0)
    scheduler = schedule(optimizer, steps_per_epoch=5, epochs=2)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[1] == pytest.approx(0.1 * rates[0])


def test_a_part_is_called_by_its_name_in_the_network():
    network = CRRN(1 / 32)
    make = Optimizer("torch.optim.SGD", freeze=["gin.bridge", "iin.encoder"], lr_mult={"gin.decoder": 0.1})
    assert make.frozen(network.gin, "gin") == [network.gin.bridge]
    optimizer = make(network.gin, 1.0, "gin")
    slow = {id(parameter) for parameter in network.gin.decoder.parameters()}
    assert {
        id(parameter) for group in optimizer.param_groups if group["lr"] < 1 for parameter in group["params"]
    } == slow
    assert all(parameter.requires_grad for parameter in network.iin.encoder.parameters())


def test_frozen_modules_keep_their_mode_and_build_no_graph():
    network = CRRN(1 / 32)
    make = Optimizer("torch.optim.SGD", freeze=["iin.encoder", "gin.encoder.0"])
    stage = StageTraining(network, ReconstructionLoss({"l1": 1}), make, 1e-3, multistep)
    stage.eval()
    stage.train()
    assert stage.training and network.gin.encoder[1].training
    assert not network.gin.encoder[0].training and not network.gin.encoder[0][0][1].training
    before = network.gin.encoder[0][0][1].running_mean.clone()
    mixture = torch.rand(2, 3, 64, 64)
    assert not any(tap.requires_grad for tap in network.iin.encoder(mixture))
    network(mixture).background.sum().backward()
    assert torch.equal(network.gin.encoder[0][0][1].running_mean, before)
    frozen = [*network.iin.encoder.parameters(), *network.gin.encoder[0].parameters()]
    assert all(parameter.grad is None for parameter in frozen)


def test_wrong_settings_are_refused():
    for arguments, words in (
        ({"freeze": "gin"}, r"optimizer\.freeze=\[gin\]"),
        ({"lr_mult": {"gin": -1}}, "positive number"),
        ({"lr": 1}, r"stages\.NAME\.learning_rate"),
        ({"beta": 1}, "Adam refuses a setting"),
    ):
        with pytest.raises(ConfigError, match=words):
            Optimizer("torch.optim.Adam", **arguments)
    for name in ("Adam", "torch.optim.Nothing", "nowhere.Adam"):
        with pytest.raises(ConfigError, match=rf"optimizer\.algorithm={name}"):
            Optimizer(name)
    make = Optimizer("torch.optim.Adam", freeze=["iin.encoder"])
    with pytest.raises(ConfigError, match=r"iin\.encoder"):
        make.check(["gin", "gin.encoder"])
    frozen, loss = Optimizer("torch.optim.Adam", ["gin"]), ReconstructionLoss(gradient={"si": 1})
    with pytest.raises(ConfigError, match="joint"):
        StageTraining(CRRN(1 / 32).gin, loss, frozen, 1e-3, multistep, prefix="gin")


def test_a_device_without_a_fused_form_takes_the_plain_one(caplog: pytest.LogCaptureFixture):
    make = Optimizer("torch.optim.Adam", fused=True)
    assert make(CRRN(1 / 32).gin, 1.0).defaults["fused"]
    with caplog.at_level("INFO", "crrn"):
        optimizer = make(torch.nn.Linear(2, 2, device="meta"), 1.0)
    assert not optimizer.defaults["fused"] and optimizer.param_groups[0]["lr"] == 1.0
    assert "optimizer.fused is left out: PyTorch has no such optimizer on meta" in caplog.text
