from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crrn.nets import CRRN
from crrn.training import counters
from crrn.training.counters import Counters, product_rate, training_flops
from crrn.training.summary import speed_lines


def forward(net: Any, images: torch.Tensor) -> Any:
    return net(images)


def test_rates_and_shares_are_those_since_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(counters.time, "perf_counter", lambda: now[0])
    counted = Counters(lambda height, width: height * width, peak=1000.0)
    for number in (1, 2):
        counted.count(torch.empty(4, 3, 10, 20), devices=2)
        counted.count(torch.empty(4, 3, 5, 20), devices=2)
        now[0] += 2.0
        row = counted.row(torch.device("cpu"), waited=0.5 * number)
        assert row["speed/samples_per_second"] == 16 / 2
        assert row["speed/waiting_share"] == 0.25
        # of one device's own samples
        assert row["speed/peak_share"] == pytest.approx((4 * 200 + 4 * 100) / 2 / 1000)
        assert 0.01 < row["speed/memory_gb"] < 1000
        assert all(name.startswith(counters.PREFIX) for name in row)
    plain = Counters()
    now[0] += 1.0
    assert "speed/peak_share" not in plain.row(torch.device("cpu"), 0.0)


def test_a_step_is_a_forward_pass_and_two_more() -> None:
    """The paper's network at width 1: 92 GFLOP forward at 224x288; its first layers need no gradient of the image."""
    flops = training_flops(CRRN(1.0), forward, 224, 288)
    assert flops == pytest.approx(3 * 92e9, rel=0.02) and flops < 3 * 92.5e9


def test_frozen_parts_cost_less() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))

    def layers(module: Any, images: torch.Tensor) -> Any:
        return [module(images), None]

    first, second = (2 * 64 * 64 * 9 * channels * 8 for channels in (3, 8))
    assert training_flops(net, layers, 64, 64) == 2 * first + 3 * second
    net[0].requires_grad_(False)
    assert training_flops(net, layers, 64, 64) == first + 2 * second


def test_a_matrix_product_has_a_rate() -> None:
    assert 1e7 < product_rate(torch.device("cpu"), torch.float32, side=128, repetitions=3) < 1e14


def test_the_summary_says_medians_of_each_stage(tmp_path: Path) -> None:
    names = ["step", "train/loss", "speed/samples_per_second", "speed/waiting_share", "speed/memory_gb"]
    for stage, more in (("gin", []), ("joint", ["speed/peak_share"])):
        (tmp_path / stage).mkdir()
        rows = [[1, 0.5, 100, 0.5, 1.0, 0.1], [2, 0.4, 400, 0.02, 3.0, 0.3], [3, 0.3, 410, 0.0, 2.0, 0.2]]
        lines = [",".join(map(str, row[: len(names) + len(more)])) for row in rows]
        (tmp_path / stage / "metrics.csv").write_text("\n".join([",".join([*names, *more]), *lines, "4" + "," * 4, ""]))
    rest = "3.00 GB at most, 2.0% of the time waiting for input."
    assert speed_lines(tmp_path, ["gin", "joint", "absent"]) == [
        f"Speed of gin: 400.0 samples/s, {rest}",
        f"Speed of joint: 400.0 samples/s, 20.0% of what a matrix product reaches on the GPU, {rest}",
    ]
