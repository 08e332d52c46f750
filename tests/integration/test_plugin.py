"""A stranger's package, tests/plugin, through every command, with nothing of crrn touched: all its parts at once."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import crrn
from crrn import plugins
from crrn.nets import record_of
from tests.conftest import write_photo
from tests.integration.conftest import ROOT, Command, Outcome, stopped_at, tiny

PLUGIN = ROOT / "tests" / "plugin"
CONF = ("--config-dir", str(PLUGIN / "conf"))
NET = ("net=tiny", "loss=l1", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]")

RATE = "train/learning_rate"


def everything(photos: Path, panes: Path) -> tuple[str, ...]:
    """Overrides of a tiny run with all that mylab brings along."""
    own = {
        "data": "data=lab",
        "data.background": f"data.background.root={photos / 'background'}",
        "init": "init=null",
    }
    return (
        *(own.get(override.partition("=")[0], override) for override in tiny(photos)),
        f"data.sources.pairs=[{{_target_:mylab.data.panes,root:{panes}}}]",
        "data.sources.pair_share=0.5",
        "mixing=photo_haze",
        "mixing.weights.haze=1000",  # all but certainly chosen
        "net=tiny",
        "loss=contrast",
        "schedule@stages.joint.schedule=linear",
        "callbacks=norm",
        "stages.joint.epochs=1",
        "ema_decay=0.9",
        "logging.checkpoint_every_n_steps=1",
    )


@pytest.fixture
def panes(tmp_path: Path) -> Path:
    """Six pairs of three scenes, as mylab.data.panes reads them."""
    root = tmp_path / "panes"
    for n in range(6):
        place = root / f"scene{n // 2}" / f"{n}-open.png"
        write_photo(place, n, 48, 64)
        with Image.open(place) as background:
            background.point(lambda level: 40 + level * 3 // 4).save(place.with_name(f"{n}-glass.png"))
    return root


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with mylab in it, not installed; nothing of it stays imported."""
    folder = tmp_path / "site"
    shutil.copytree(PLUGIN / "mylab", folder / "mylab")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_named", set())
    yield folder
    forget_mylab()


def forget_mylab() -> None:
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


def ok(outcome: Outcome) -> Outcome:
    assert outcome.status == 0, outcome.err + outcome.out
    return outcome


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_an_installed_package_through_all_commands(command: Command, photos: Path, panes: Path, tmp_path: Path) -> None:
    settings = (*CONF, *everything(photos, panes))
    ok(command("train", *settings, "name=whole"))
    with stopped_at(2):
        assert command("train", *settings, "name=run").status != 0
    ok(command("train", *settings, "name=run", "resume=auto"))
    assert "complete" in ok(command("train", *settings, "name=run", "resume=auto")).out
    ends = [(tmp_path / f"runs/{name}/weights.safetensors").read_bytes() for name in ("whole", "run")]
    assert ends[0] == ends[1]
    of_a_network(tmp_path / "runs/run")
    of_training(tmp_path / "runs/run")

    ok(command("train", "-m", *settings, "name=sweep", "net.channels=4,6"))
    jobs = list((tmp_path / "runs/sweeps/sweep").glob("*/weights.safetensors"))
    assert {record_of(crrn.load(job))["channels"] for job in jobs} == {4, 6}

    mixture = photo_of_noise(tmp_path / "photos/one.png")
    network = crrn.load("runs/run")
    with torch.inference_mode():
        expected = crrn.estimate(network, torch.from_numpy(mixture)).background[0].permute(1, 2, 0).clamp(0, 1)
    ok(command("predict", "input=photos", "output=clean", "remover=runs/run"))
    # away from the right and lower border, which prediction pads by more
    assert np.abs(pixels(tmp_path / "clean/one.png") - expected.numpy())[:32, :48].max() < 0.51 / 255
    dimmer = np.clip(mixture - 0.2 * mixture.min((2, 3), keepdims=True), 0, 1)[0].transpose(1, 2, 0)
    ok(command("predict", "input=photos", "output=own", "remover={_target_:mylab.removers.Dehaze,share:0.2}"))
    assert np.abs(pixels(tmp_path / "own/one.png") - dimmer).max() < 0.51 / 255

    ok(command("main", "remove", "photos/one.png", "-o", "half", "--model", "dehaze"))
    half = np.clip(mixture - 0.5 * mixture.min((2, 3), keepdims=True), 0, 1)[0].transpose(1, 2, 0)
    assert np.abs(pixels(tmp_path / "half/one.png") - half).max() < 0.51 / 255
    np.testing.assert_allclose(crrn.remove(mixture[0].transpose(1, 2, 0), "dehaze"), half, atol=1e-6)

    evaluated(command, tmp_path, panes)
    ok(command("report", "name=mine", "evaluations=[evaluations/tiny]", "runs=[runs/run]"))
    text = (tmp_path / "experiments/mine/README.md").read_text() + (tmp_path / "experiments/mine/tables.md").read_text()
    assert "TinyUNet (channels 8)" in text and "Tint (levels) ↓" in text
    assert "Tint by mylab.metrics.Tint" in text

    for form in ("onnx", "torch_export", "safetensors"):
        ok(command("export", "checkpoint=runs/run", f"format={form}", "output=exported"))
    session = onnxruntime.InferenceSession(tmp_path / "exported/model.onnx", providers=["CPUExecutionProvider"])
    (background,) = session.run(None, {"mixture": mixture})
    assert np.abs(background[0].transpose(1, 2, 0).clip(0, 1) - expected.numpy()).max() < 1e-4
    assert "TinyUNet, channels 8" in (tmp_path / "exported/README.md").read_text()
    assert record_of(crrn.from_pretrained(tmp_path / "exported")) == record_of(network)
    refused = command("export", "checkpoint=dehaze")
    assert refused.status == 1 and "dehaze is a method without weights" in refused.err

    from crrn.webpage.studio import Studio

    (tmp_path / "page").mkdir()
    own = {"_target_": "mylab.removers.Dehaze", "share": 0.2}
    studio = Studio(["runs/run", "dehaze", own], tmp_path / "page", max_megapixels=1)
    assert [*studio.removers] == ["run", "dehaze", "Dehaze share=0.2"]
    assert (
        studio.about("dehaze") == "A method of the package mylab" and studio.about("Dehaze share=0.2") == "Your method"
    )
    for label, wanted in (("run", expected.numpy()), ("Dehaze share=0.2", dimmer)):
        result = studio.remove(tmp_path / "photos/one.png", label)
        assert result.reflection is None
        assert np.abs(pixels(result.download) - wanted)[:32, :48].max() < 0.51 / 255


def of_a_network(run: Path) -> None:
    """A run keeps what its network is, and has nothing of layers that the network does not estimate."""
    record = {"_target_": "mylab.nets.TinyUNet", "channels": 8}
    network = crrn.load(run)
    assert type(network).__name__ == "TinyUNet" and record_of(network) == record
    noted = json.loads((run / "run.json").read_text())
    assert noted["config"]["net"] == record and noted["config"]["stages"]["order"] == ["joint"]
    checkpoint = torch.load(run / "joint/last.ckpt", weights_only=True)
    assert checkpoint["crrn"]["net"] == record
    metrics = json.loads((run / "summary.json").read_text())
    assert "val/background_ssim" in metrics and "pairs/background_ssim" in metrics
    assert not any("reflection" in name or "gradient" in name for name in metrics)
    with Image.open(next((run / "joint/panels").glob("panel-*.png"))) as panel:
        assert panel.width == 3 * (48 * 5 + 4) + 4  # the mixture, the background estimated and true


def of_training(run: Path) -> None:
    """The run was trained with mylab's sources, mixtures, loss term, schedule and callback."""
    noted = json.loads((run / "run.json").read_text())
    assert noted["data"]["background"] == {"source": "album", "training": 6, "held_out": 2, "left_out": 0}
    assert noted["data"]["pairs"]["training scenes"] == 2 and noted["data"]["pairs"]["held-out scenes"] == 1
    assert noted["config"]["mixing"]["models"]["haze"]["_target_"] == "mylab.mixing.Haze"
    assert noted["config"]["loss"]["terms"] == {"contrast": "mylab.losses.contrast"}
    with (run / "joint/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["train/background_contrast"]) > 0 for row in rows if row["train/loss"])
    rates = [float(row[RATE]) for row in rows if row.get(RATE)]
    np.testing.assert_allclose(rates, [7e-5, 4e-5, 1e-5], rtol=1e-6)  # after each step, as it is logged
    norms = [float(row["weight_norm"]) for row in rows if row["weight_norm"]]
    checkpoint = torch.load(run / "joint/last.ckpt", weights_only=True)
    weights = checkpoint["current_model_state"].values()
    assert norms == pytest.approx([np.sqrt(sum(float(weight.square().sum()) for weight in weights))], rel=1e-5)


def evaluated(command: Command, place: Path, panes: Path) -> None:
    """An evaluation of mylab's network and remover, on its benchmark, by its metric."""
    benchmark = ("benchmark=[panes]", f"benchmark.panes.root={panes}")
    ok(command("prepare", *CONF, *benchmark))
    assert json.loads((place / "prepared/panes.json").read_text())["images"] == 6
    refused = command("prepare", *CONF, *benchmark, "benchmark.panes._target_=mylab.data.panes")
    said(refused, ["benchmark.panes._target_=mylab.data.panes gives a PairSource"])
    removers = "removers=[runs/run,dehaze,{_target_:mylab.removers.Dehaze,share:0.2}]"
    settings = (*benchmark, "protocol=[tint]", "device=cpu", "cases=1")
    outcome = ok(command("eval", *CONF, "name=tiny", removers, *settings))
    assert "Tint (levels) ↓" in outcome.out and "Dehaze share=0.2" in outcome.out
    summary = json.loads((place / "evaluations/tiny/summary.json").read_text())
    assert summary["evaluation"]["benchmarks"]["panes"]["scenes"] == 3
    (result,) = summary["results"]
    tint = {label: entry["metrics"]["tint"]["mean"] for label, entry in result["removers"].items()}
    assert [*tint] == ["identity", "run", "dehaze", "Dehaze share=0.2"]
    for label, share in (("identity", 0), ("dehaze", 0.5), ("Dehaze share=0.2", 0.2)):
        differences = []
        for glass in sorted(panes.glob("*/*-glass.png")):
            estimate, truth = pixels(glass), pixels(glass.with_name(glass.name.replace("glass", "open")))
            estimate = (estimate - share * estimate.min((0, 1))).clip(0, 1)
            differences.append(255 * np.abs(estimate.mean((0, 1)) - truth.mean((0, 1))).max())
        assert tint[label] == pytest.approx(np.mean(differences), rel=1e-4)
    table = (place / "evaluations/tiny/summary.md").read_text()
    lowest = min(tint, key=lambda label: tint[label])
    assert re.search(rf"^\| {lowest} .*\*\*{tint[lowest]:.1f}", table, flags=re.MULTILINE), table


def photo_of_noise(path: Path) -> NDArray[np.float32]:
    """Writes an odd-sized photo of noise, and gives it as a mixture (1, 3, H, W)."""
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(40, 255, (45, 61, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return noise.astype(np.float32).transpose(2, 0, 1)[None] / 255


def pixels(path: Path) -> NDArray[np.float64]:
    """(H, W, 3) in [0, 1]."""
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"), dtype=np.float64) / 255


def test_a_report_imports_nothing_of_strangers(command: Command, site: Path, panes: Path, tmp_path: Path) -> None:
    settings = (f"benchmark.panes.root={panes}", "protocol=[tint]", "device=cpu", "cases=0")
    ok(command("eval", *CONF, "name=tiny", "removers=[]", "benchmark=[panes]", *settings))
    assert "mylab" in sys.modules
    forget_mylab()
    shutil.rmtree(site)
    ok(command("report", "name=mine", "evaluations=[evaluations/tiny]"))
    assert "Tint (levels) ↓" in (tmp_path / "experiments/mine/tables.md").read_text()
    assert "mylab" not in sys.modules


def test_a_package_that_is_only_on_the_path_must_be_named(
    command: Command, site: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(command("train", *CONF, *tiny(photos, *NET), "name=run"))
    forget_mylab()
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30), (9, 99, 199)).save(tmp_path / "photos/a.png")
    predict = ("predict", "input=photos", "output=clean", "remover=runs/run")
    refused = command(*predict)
    assert refused.status == 1 and "plugins=[mylab]" in refused.err and "Traceback" not in refused.err
    assert "mylab" not in sys.modules
    ok(command(*predict, "plugins=[mylab]"))
    forget_mylab()
    monkeypatch.setattr(plugins, "_named", set())
    remove = ("main", "remove", "photos/a.png", "-o", "removed", "--model", "runs/run")
    refused = command(*remove)
    assert refused.status == 1 and "plugins=[mylab]" in refused.err and "Traceback" not in refused.err
    clean = crrn.remove(tmp_path / "photos/a.png", "runs/run", plugins=["mylab"])
    ok(command(*remove, "--plugins", "mylab"))
    np.testing.assert_array_equal(np.asarray(clean), np.asarray(Image.open(tmp_path / "removed/a.png")))
    absent = command(*predict, "plugins=[nolab]")
    assert absent.status == 1 and "plugins=[nolab]" in absent.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss.terms.contrast=mylab.losses.tone"], ["loss.terms.contrast=mylab.losses.tone", "no attribute 'tone'"]),
        (["loss.terms.contrast=torch.sub"], ["loss.terms.contrast returns a Tensor of shape (2, 3, ", "scalar"]),
        (["+loss.background.tone=1"], ["loss.background.tone is not a term", "contrast", "loss.terms.tone"]),
        (["+mixing.models.mine._target_=mylab.mixing.Mist"], ["mixing.models.mine._target_=mylab.mixing.Mist"]),
        (["+mixing.models.mine._target_=mylab.removers.Dehaze"], ["mixing.models.mine=", "a class with draw"]),
        (["data.background._target_=mylab.data.panes"], ["data.background is a PairSource", "PhotoSource"]),
        (["data.sources.pairs=[{_target_:mylab.data.album,root:panes}]"], ["data.sources.pairs has a PhotoSource"]),
        (["callbacks.weight_norm._target_=mylab.removers.Dehaze"], ["callbacks.weight_norm", "a Dehaze", "Callback"]),
        (["~stages.joint.schedule._partial_"], ["stages.joint", "'optimizer'", "_partial_: true"]),
        (
            ["stages.joint.schedule._target_=mylab.losses.linear"],
            ["stages.joint.schedule._target_=mylab.losses.linear"],
        ),
    ],
)
def test_a_wrong_part_of_a_training_is_said_in_one_sentence(
    command: Command, photos: Path, panes: Path, overrides: list[str], words: list[str]
) -> None:
    said(command("train", *CONF, *everything(photos, panes), *overrides), words)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["removers=[{_target_:mylab.removers.Fog}]"], ["_target_=mylab.removers.Fog", "no attribute 'Fog'"]),
        (["removers=[{_target_:mylab.metrics.Tint}]"], ["mylab.metrics.Tint gives a Tint", "torch.nn.Module"]),
        (["removers=[{_target_:mylab.removers.Dehaze,by:1}]"], ["Dehaze has no option by; it has share"]),
        (
            ["benchmark.panes._target_=mylab.data.panes"],
            ["mylab.data.panes gives a PairSource"],
        ),
        (["protocol.tint={_target_:mylab.metrics.Tint}"], ["protocol.tint.name"]),
        (["protocol.tint.metrics=[tint]"], ["protocol.tint.metrics: ['tint']", "_target_: CLASS"]),
        (
            ["protocol.tint.metrics=[{_target_:mylab.removers.Dehaze}]"],
            ["Dehaze() is not a metric"],
        ),
    ],
)
def test_a_wrong_part_of_an_evaluation_is_said_in_one_sentence(
    command: Command, panes: Path, overrides: list[str], words: list[str]
) -> None:
    settings = ("benchmark=[panes]", f"benchmark.panes.root={panes}", "protocol=[tint]", "device=cpu", "cases=0")
    said(command("eval", *CONF, *settings, *overrides), words)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss=crrn"], ["loss.reflection=null loss.gradient=null", "TinyUNet"]),
        (["loss.exclusion=0.1"], ["term on the reflection", "TinyUNet", "loss.exclusion=null"]),
        (["dry_run=true", "loss.reconstruction=0.1"], ["TinyUNet", "loss.reconstruction=null"]),
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
    said(command("train", *CONF, *tiny(photos, *NET), *overrides), words)


def said(outcome: Outcome, words: list[str]) -> None:
    """A command ended with one sentence that has these words."""
    assert outcome.status == 1 and "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


def test_the_page_quotes_these_files() -> None:
    page = (ROOT / "docs/extending.md").read_text()
    quoted = re.findall(r"^```(?:python|yaml|toml)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    files = {path: path.read_text() for path in PLUGIN.rglob("*.*") if path.suffix in (".py", ".yaml", ".toml")}
    for block in quoted:
        assert any(block in text for text in files.values()), block
    unquoted = [path.name for path, text in files.items() if not any(block in text for block in quoted)]
    assert unquoted == ["__init__.py"]
