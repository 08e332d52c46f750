"""A stranger's package, tests/plugin, through every command, with nothing of crrn touched."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import crrn
from crrn import plugins
from crrn.mixing import Mixture
from crrn.nets import record_of
from crrn.training import StageTraining
from tests.conftest import write_photo
from tests.integration.conftest import ROOT, Outcome, tiny

PLUGIN = ROOT / "tests" / "plugin"
CONF = ("--config-dir", str(PLUGIN / "conf"))
NET = ("net=tiny", "loss=l1", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]")

Command = Callable[..., Outcome]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with mylab in it, not installed; nothing of it stays imported."""
    folder = tmp_path / "site"
    shutil.copytree(PLUGIN / "mylab", folder / "mylab")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_named", set())
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


@pytest.fixture
def installed(site: Path) -> Path:
    """mylab as an installer leaves it, with the entry points of its pyproject.toml."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``crrn-NAME`` in this process, in an empty working directory."""

    def run(name: str, *arguments: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"crrn-{name}", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            import_module(f"crrn.cli.{name}").main()
        out, err = capfd.readouterr()
        return Outcome(int(exit_.value.code or 0), out, err)

    return run


def ok(outcome: Outcome) -> Outcome:
    assert outcome.status == 0, outcome.err + outcome.out
    return outcome


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.usefixtures("installed")
def test_an_installed_network_through_all_commands(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*CONF, *tiny(photos, *NET), "ema_decay=0.9", "logging.checkpoint_every_n_steps=1")
    ok(command("train", *settings, "name=whole"))
    with monkeypatch.context() as patched:
        training_step = StageTraining.training_step

        def stop_at_step_2(self: StageTraining, batch: Mixture, batch_idx: int) -> torch.Tensor:
            if self.trainer.global_step == 2:
                raise Stopped
            return training_step(self, batch, batch_idx)

        patched.setattr(StageTraining, "training_step", stop_at_step_2)
        assert command("train", *settings, "name=run").status != 0
    ok(command("train", *settings, "name=run", "resume=auto"))
    assert "complete" in ok(command("train", *settings, "name=run", "resume=auto")).out
    ends = [(tmp_path / f"runs/{name}/weights.safetensors").read_bytes() for name in ("whole", "run")]
    assert ends[0] == ends[1]

    network = crrn.load("runs/run")
    record = {"_target_": "mylab.nets.TinyUNet", "channels": 8}
    assert type(network).__name__ == "TinyUNet" and record_of(network) == record
    run = json.loads((tmp_path / "runs/run/run.json").read_text())
    assert run["config"]["net"] == record and run["config"]["stages"]["order"] == ["joint"]
    checkpoint = torch.load(tmp_path / "runs/run/joint/last.ckpt", weights_only=True)
    assert checkpoint["crrn"]["net"] == record
    metrics = json.loads((tmp_path / "runs/run/summary.json").read_text())
    assert "val/background_ssim" in metrics
    assert not any("reflection" in name or "gradient" in name for name in metrics)
    with Image.open(next((tmp_path / "runs/run/joint/panels").glob("*.png"))) as panel:
        assert panel.width == 3 * (48 * 5 + 4) + 4  # the mixture, the background estimated and true

    ok(command("train", "-m", *settings, "name=sweep", "net.channels=4,6"))
    jobs = list((tmp_path / "runs/sweeps/sweep").glob("*/weights.safetensors"))
    assert {record_of(crrn.load(job))["channels"] for job in jobs} == {4, 6}

    for n, name in enumerate(("one", "two")):
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise = np.random.default_rng(n).integers(0, 255, (45, 61, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photos/{name}.png")
    ok(command("predict", "input=photos", "output=clean", "remover=runs/run"))
    predicted = np.asarray(Image.open(tmp_path / "clean/one.png"), dtype=np.float64) / 255
    mixture = np.asarray(Image.open(tmp_path / "photos/one.png"), dtype=np.float32).transpose(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = crrn.estimate(network, torch.from_numpy(mixture)).background[0].permute(1, 2, 0).clamp(0, 1)
    # away from the right and lower border, which prediction pads by more
    assert np.abs(predicted - expected.numpy())[:32, :48].max() < 0.51 / 255

    for n in range(2):
        write_photo(tmp_path / f"pairs/transmission_layer/{n}.png", n, 48, 64)
        write_photo(tmp_path / f"pairs/blended/{n}.png", 9 + n, 48, 64)
    benchmark = ("benchmark=[folder]", "benchmark.folder.root=pairs", "protocol=[native]", "device=cpu", "cases=1")
    outcome = ok(command("eval", "name=tiny", "removers=[runs/run]", *benchmark))
    assert "run" in outcome.out and "identity" in outcome.out
    ok(command("report", "name=mine", "evaluations=[evaluations/tiny]", "runs=[runs/run]"))
    text = (tmp_path / "experiments/mine/README.md").read_text()
    assert "TinyUNet (channels 8)" in text + (tmp_path / "experiments/mine/tables.md").read_text()

    for form in ("onnx", "torch_export", "safetensors"):
        ok(command("export", "checkpoint=runs/run", f"format={form}", "output=exported"))
    session = onnxruntime.InferenceSession(tmp_path / "exported/model.onnx", providers=["CPUExecutionProvider"])
    (background,) = session.run(None, {"mixture": mixture})
    assert np.abs(background[0].transpose(1, 2, 0).clip(0, 1) - expected.numpy()).max() < 1e-4
    assert "TinyUNet, channels 8" in (tmp_path / "exported/README.md").read_text()
    assert record_of(crrn.from_pretrained(tmp_path / "exported")) == record

    from crrn.webpage.studio import Studio

    (tmp_path / "page").mkdir()
    result = Studio(["runs/run"], tmp_path / "page", max_megapixels=1).remove(tmp_path / "photos/two.png", "run")
    assert result.reflection is None and Path(result.download).exists()


def test_a_package_that_is_only_on_the_path_must_be_named(
    command: Command, site: Path, photos: Path, tmp_path: Path
) -> None:
    ok(command("train", *CONF, *tiny(photos, *NET), "name=run"))
    for name in [name for name in sys.modules if name.startswith("mylab")]:
        del sys.modules[name]
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30), (9, 99, 199)).save(tmp_path / "photos/a.png")
    predict = ("predict", "input=photos", "output=clean", "remover=runs/run")
    refused = command(*predict)
    assert refused.status == 1 and "plugins=[mylab]" in refused.err and "Traceback" not in refused.err
    assert "mylab" not in sys.modules
    ok(command(*predict, "plugins=[mylab]"))
    absent = command(*predict, "plugins=[nolab]")
    assert absent.status == 1 and "plugins=[nolab]" in absent.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss=crrn"], ["loss.reflection=null loss.gradient=null", "TinyUNet"]),
        (["stages.joint.monitor=val/gradient_si"], ["val/gradient_si", "TinyUNet"]),
        (["stages.order=[gin]"], ["'gin'", "stages.order=[joint]"]),
        (["+net.width=2"], ["net.width", "channels"]),
        (["net._target_=mylab.nets.Tensor"], ["mylab.nets.Tensor"]),
        (["net._target_=mylab.nets.Nothing"], ["mylab.nets.Nothing"]),
        (["optimizer.freeze=[encoder]"], ["encoder", "down, middle, up"]),
    ],
)
def test_what_does_not_fit_a_network_is_said_in_one_sentence(
    command: Command, photos: Path, overrides: list[str], words: list[str]
) -> None:
    outcome = command("train", *CONF, *tiny(photos, *NET), *overrides)
    assert outcome.status == 1 and "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
