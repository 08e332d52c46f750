"""What only a device can show. On such a machine: python -m pytest -q tests/gpu"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from crrn.bench.textures import texture
from crrn.data.dataset import placed
from crrn.data.device import Cut, DevicePhotos, StoredPhoto, stacked_cuts
from crrn.data.plan import Geometry
from crrn.training.background import Reading
from crrn.training.guards import leave_out
from tests.integration.conftest import Command, Outcome, tiny

Train = Callable[..., Outcome]

COMPILED = ("compile=true", "+callbacks.compiler={_target_: tests.integration.plain.CompilerThatChangesNothing}")
"""Has the step traced as for torch's compiler, which would take minutes on a GPU."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accelerator", "more"),
    [
        ("cpu", ["data.loading.cache=device"]),
        ("cpu", ["trainer=gpu", "trainer.accelerator=cpu", *COMPILED]),
        *(
            pytest.param(
                "gpu", [f"trainer.precision={precision}", f"data.loading.cache={cache}"], marks=pytest.mark.gpu
            )
            for precision in ("32-true", "bf16-mixed")
            for cache in ("device", "true")
        ),
        pytest.param("gpu", ["trainer=gpu", "data.loading.cache=device"], marks=pytest.mark.gpu),
        pytest.param("gpu", ["trainer=gpu", *COMPILED], marks=pytest.mark.gpu),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_fifty_steps_never_wait(train: Train, photos: Path, accelerator: str, more: list[str]) -> None:
    """With averages, skipped steps, curves and checkpoints, photos on the device and from the loader."""
    settings = [value for value in tiny(photos) if not value.startswith("trainer.accelerator")]
    outcome = train(
        *settings,
        *(f"trainer.accelerator={accelerator}", *more),
        *("stages=joint", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]", "name=waiting"),
        *("data.batches.samples_per_epoch=120", "data.batches.scale=[0.5,1]"),
        *("ema_decay=0.9", "non_finite=skip", "logging.metrics_every_n_steps=10"),
        "logging.checkpoint_every_n_steps=20",
        "+callbacks.waiting={_target_: tests.gpu.waiting.NoWaiting, first: 6, steps: 50}",
    )
    assert outcome.status == 0, outcome.err
    assert "50 steps without a wait" in outcome.out


def test_cuts_are_those_of_the_host(device: torch.device) -> None:
    sizes = [(224, 288), (300, 200), (120, 160)]
    pictures = [texture(number, *size) for number, size in enumerate(sizes)]
    kept = DevicePhotos(sizes, device)
    places = kept.fill([lambda picture=picture: picture for picture in pictures])
    geometries = [Geometry(0.8, (0.2, 0.7), number % 2 == 0, 4.0 * number) for number in range(3)]
    cuts = []
    for place, geometry in zip(places, geometries, strict=True):
        assert isinstance(place, StoredPhoto)
        cut = placed(place, (96, 160), geometry)
        assert isinstance(cut, Cut)
        cuts.append(cut)
    batch = stacked_cuts(cuts)
    made = kept.cut(batch._replace(table=batch.table.to(device))).cpu()
    for image, picture, geometry in zip(made, pictures, geometries, strict=True):
        expected = torch.from_numpy(placed(picture, (96, 160), geometry)).permute(2, 0, 1) / 255
        assert -10 * math.log10((image - expected).square().mean()) > 35


def test_a_fused_step_is_left_out_on_the_device(device: torch.device) -> None:
    net = nn.Linear(8, 8).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    for wanted in (0.0, 1.0, 0.0):
        before = net.weight.detach().clone()
        optimizer.zero_grad()
        net(torch.ones(2, 8, device=device)).square().mean().backward()
        leave_out(optimizer, torch.tensor(wanted, device=device))
        optimizer.step()
        assert torch.equal(net.weight, before) == bool(wanted)
    assert {float(state["step"]) for state in optimizer.state.values()} == {2.0}


def test_a_reading_keeps_what_was_there_while_the_device_goes_on(device: torch.device) -> None:
    values = torch.zeros(1 << 20, device=device)
    taken = []
    for number in range(20):
        taken.append(Reading({"values": values, "number": number}))
        values += 1
    for number, reading in enumerate(taken):
        read = reading.get()
        assert read["number"] == number and read["values"].device.type == "cpu"
        assert (read["values"] == number).all()


@pytest.mark.gpu
def test_the_suite_for_gpus(command: Command, tmp_path: Path) -> None:
    """Tests of the command run all of it on the CPU."""
    settings = ("suite=[gpu]", "toy=true", "suite.gpu.toy.device=cuda", "repetitions=3", "seconds=0.01", "output=out")
    assert command("bench", *settings).status == 0
    lines = json.loads((tmp_path / "out/metrics.json").read_text())["lines"]
    assert {"tf32=false", "compile=true", "cache=device"} <= {line["contestant"] for line in lines}
    assert any("share of the matrix product" in line["title"] for line in lines)
