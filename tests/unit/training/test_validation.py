"""What a validation reports of mixtures and of pairs, by which of it checkpoints are chosen, and when a stage ends."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor
from torch.utils.data import DataLoader

from crrn.errors import CheckpointError, ConfigError
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.metrics import gains, matched_gains, quality
from crrn.mixing import Mixture
from crrn.nets import IiN, Network
from crrn.training import Logging, RunDirectory, Stage, standard_callbacks, train_stages
from crrn.training.early_stopping import Patience
from crrn.training.optimizers import Optimizer
from crrn.training.recovery import BEST, LAST, go_back
from crrn.training.results import take_result
from crrn.training.schedules import multistep
from crrn.training.summary import harm_line, summary_rows
from crrn.training.terminal import validation_line
from crrn.training.validation import Validation, is_better, refuse_unknown_metric

GAIN_NAMES = {"gain_ssim", "gain_si", "gain_psnr", "harm_rate", "matched_gain_ssim", "matched_gain_psnr"}


def batch(seed: int, known: list[bool] | None = None) -> Mixture:
    images = torch.rand(3, 3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    background, reflection = images[0], 0.5 * images[1]
    mask = None if known is None else torch.tensor(known)
    return Mixture((background + reflection).clamp(0, 1), background, reflection, mask)


class Data(L.LightningDataModule):
    """Two training batches; two validation batches of mixtures and, if wanted, two of pairs."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.pairs = pairs
        self.first_epoch = self.seed = 0
        self.latest = torch.arange(3)

    def train_dataloader(self) -> DataLoader[Mixture]:
        return DataLoader([batch(0), batch(1)], batch_size=None)

    def val_dataloader(self) -> DataLoader[Mixture] | list[DataLoader[Mixture]]:
        mixtures = DataLoader([batch(2), batch(3)], batch_size=None)
        pairs = [batch(4, [True, False, True]), batch(5, [False] * 3)]
        return [mixtures, DataLoader(pairs, batch_size=None)] if self.pairs else mixtures


def network() -> Network:
    torch.manual_seed(0)
    return IiN(1 / 32)


def fit(folder: Path, pairs: bool = True, resume: str | None = None, **settings) -> tuple[Network, dict[str, float]]:
    """Trains two epochs; gives the network and the result's metrics."""
    net = network()
    settings = {"epochs": 2, "learning_rate": 1e-2, "schedule": multistep, **settings}
    stage = Stage(loss=ReconstructionLoss(background={"l1": 1}, reflection={"l1": 1}), **settings)

    def trainer(**more) -> L.Trainer:
        return L.Trainer(accelerator="cpu", log_every_n_steps=1, num_sanity_val_steps=0, **more)

    run = RunDirectory(folder, resume, {}, "")
    callbacks = standard_callbacks(Logging(metrics_every_n_steps=1))
    metrics = train_stages(
        net, {"joint": stage}, Data(pairs), Optimizer(torch.optim.Adam), trainer, run, callbacks=callbacks
    )
    return net, metrics


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network, dict[str, float]]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *fit(folder)


def images_of(net: Network, batches: list[Mixture]) -> tuple[Tensor, Mixture]:
    """The estimates of the background, and the batches as one."""
    whole = Mixture(*(torch.cat(images) for images in zip(*(each[:3] for each in batches), strict=True)))
    with torch.no_grad():
        return net.eval()(whole.mixture).background, whole


def test_both_sets_report_what_their_images_have(trained):
    _, net, metrics = trained
    for prefix, batches in (("val", [batch(2), batch(3)]), ("pairs", [batch(4), batch(5)])):
        estimate, whole = images_of(net, batches)
        names = {name.partition("/")[2] for name in metrics if name.startswith(f"{prefix}/")}
        assert names >= GAIN_NAMES | {"background_ssim", "identity_background_psnr", "reflection_si"}
        pairs = zip(estimate.clamp(0, 1).numpy(), whole.mixture.numpy(), whole.background.numpy(), strict=True)
        gain = [
            peak_signal_noise_ratio(b, ours, data_range=1) - peak_signal_noise_ratio(b, theirs, data_range=1)
            for ours, theirs, b in pairs
        ]
        assert metrics[f"{prefix}/gain_psnr"] == pytest.approx(np.mean(gain), abs=1e-3)
        matched = matched_gains(estimate, whole.mixture, whole.background)
        for name, values in matched.items():
            assert metrics[f"{prefix}/{name}"] == pytest.approx(values.mean().item(), abs=1e-5)
        scores = [quality(image, whole.background) for image in (estimate, whole.mixture)]
        assert metrics[f"{prefix}/harm_rate"] == pytest.approx(gains(*scores)["harm_rate"].mean().item())


def test_a_reflection_is_measured_where_it_is_known(trained):
    _, net, metrics = trained
    with torch.no_grad():
        reflection = net.eval()(batch(4).mixture).reflection
    expected = quality(reflection, batch(4).reflection)["psnr"][[0, 2]].mean().item()
    assert metrics["pairs/reflection_psnr"] == pytest.approx(expected, abs=1e-3)


def test_curves_and_panels_follow(trained):
    folder, _, metrics = trained
    with (folder / "joint/metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    for name in ("val/gain_psnr", "pairs/gain_psnr", "pairs/harm_rate", "pairs/matched_gain_ssim"):
        assert float(last[name]) == pytest.approx(metrics[name])
    panels = {path.name for path in (folder / "joint/panels").iterdir()}
    assert panels == {f"{name}-epoch000{epoch}.png" for name in ("panel", "pairs") for epoch in (1, 2)}


def test_without_pairs_there_are_none(tmp_path):
    _, metrics = fit(tmp_path / "run", pairs=False, epochs=1)
    assert {name.partition("/")[0] for name in metrics} == {"val"}
    assert {f"val/{name}" for name in GAIN_NAMES} <= metrics.keys()


def test_a_set_without_any_known_reflection_has_no_row_of_it():
    validation = Validation()
    unknown = batch(4, [False] * 3)
    layers = Layers(unknown.background, unknown.reflection)
    validation.update(layers, layers, Layers(background=unknown.mixture), unknown.reflection_known)
    values = validation.compute()
    assert not [name for name in values if name.startswith("reflection")]
    assert values["background_psnr"] == 100
    assert validation.compute() == {}  # forgotten


@pytest.mark.parametrize(
    ("monitor", "pairs", "word"),
    [
        ("pairs/gain_psnr", False, "data.sources.pairs"),
        ("pairs/gain_sharpness", True, "pairs/gain_sharpness"),
        ("test/gain_psnr", True, "test/gain_psnr"),
        ("gain_psnr", True, "val/gain_psnr"),
    ],
)
def test_a_monitor_that_does_not_exist_is_refused_before_the_first_step(tmp_path, monitor, pairs, word):
    with pytest.raises(ConfigError, match=r"stages\.joint\.monitor") as refused:
        fit(tmp_path / "run", pairs=pairs, monitor=monitor)
    assert word in str(refused.value)
    assert not list(tmp_path.glob("run/*/metrics.csv"))


def test_a_network_without_a_background_has_no_gain():
    with pytest.raises(ConfigError):
        refuse_unknown_metric(("gradient",), "gin", "val/gain_psnr", "stages.gin.monitor")
    refuse_unknown_metric(("gradient",), "gin", "pairs/gradient_si", "stages.gin.monitor")


def test_the_harm_rate_is_better_where_it_is_lower():
    assert is_better("pairs/harm_rate", 0.2, 0.3) and not is_better("pairs/harm_rate", 0.3, 0.2)
    assert is_better("val/gain_psnr", 0.3, 0.2) and not is_better("val/gain_psnr", 0.2, 0.3)
    for monitor in ("pairs/harm_rate", "val/gain_psnr"):
        assert is_better(monitor, 0.0, None) and not is_better(monitor, 0.2, 0.2)
        assert not is_better(monitor, float("nan"), None) and not is_better(monitor, float("nan"), 0.1)


def test_the_result_can_be_the_best_checkpoint(tmp_path):
    # The rate of the second epoch ruins what the first one left.
    schedule = partial(multistep, milestones=[0.5], factor=1000)
    folder = tmp_path / "run"
    net, metrics = fit(folder, schedule=schedule, learning_rate=1e-3, monitor="pairs/gain_psnr", result="best")
    with (folder / "joint/metrics.csv").open(newline="") as file:
        curve = [float(row["pairs/gain_psnr"]) for row in csv.DictReader(file) if row["pairs/gain_psnr"]]
    assert metrics["pairs/gain_psnr"] == max(curve) and curve[-1] < max(curve)
    estimate, whole = images_of(net, [batch(4), batch(5)])
    scores = [quality(image, whole.background)["psnr"] for image in (estimate, whole.mixture)]
    assert (scores[0] - scores[1]).mean().item() == pytest.approx(max(curve), abs=1e-3)
    assert json.loads((folder / "joint/result.json").read_text()) == metrics


def test_going_back_leaves_no_best_checkpoint_of_the_time_after(tmp_path):
    for name, best in ((LAST, 3.0), (BEST, 3.0), ("early.ckpt", 1.0)):
        torch.save({"callbacks": {"Checkpoints": {"best": best}}}, tmp_path / name)
    go_back(tmp_path, tmp_path / BEST)
    assert (tmp_path / BEST).exists()
    go_back(tmp_path, tmp_path / "early.ckpt")
    assert not (tmp_path / BEST).exists()


def test_no_best_checkpoint_is_one_sentence(tmp_path):
    class Module:
        name, monitor = "joint", "val/gain_psnr"

    with pytest.raises(CheckpointError, match=r"stages\.joint\.result=last"):
        take_result(Module(), tmp_path, "best")


@pytest.mark.parametrize(("setting", "value"), [("early_stopping", 0), ("early_stopping", 1.5), ("result", "newest")])
def test_wrong_settings_of_a_stage(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Stage(1, 1e-3, multistep, ReconstructionLoss(background={"l1": 1}), **{setting: value})


class Scripted(L.LightningModule):
    """Reports a given value of the monitor after each epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.epochs.append(self.current_epoch)
        return (self.weight * batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def on_validation_epoch_end(self) -> None:
        self.log("pairs/harm_rate", self.values[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class EachEpoch(L.Callback):
    """Saves a checkpoint at each epoch's end, as a run does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


def run_scripted(folder: Path, values: list[float], checkpoint: Path | None = None) -> list[int]:
    """The epochs that are trained."""
    module = Scripted(values)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=len(values),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Patience("pairs/harm_rate", 2), EachEpoch(folder)],
    )
    ones = DataLoader(torch.ones(1, 1), num_workers=0)
    trainer.fit(module, ones, ones, ckpt_path=checkpoint, weights_only=True)
    return module.epochs


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:Checkpoint directory", "ignore:.*log_every_n"
)
def test_early_stopping_ends_at_the_same_epoch_wherever_a_run_was_stopped(tmp_path):
    values = [0.5, 0.4, 0.45, 0.4, 0.3, 0.2]  # lower is better: none after 0.4, twice
    assert run_scripted(tmp_path, values) == [0, 1, 2, 3]
    for stopped in range(4):
        resumed = run_scripted(tmp_path / "again", values, tmp_path / f"{stopped}.ckpt")
        assert resumed == list(range(stopped + 1, 4)), stopped


def test_a_line_of_the_log_shows_both_sets(trained):
    line = validation_line(trained[2])
    mixtures, pairs = line.split("  |  ")
    assert mixtures.startswith("SSIM ") and pairs.startswith("pairs: SSIM ")
    for part, prefix in ((mixtures, "val"), (pairs, "pairs")):
        assert f"matched gain {trained[2][f'{prefix}/matched_gain_psnr']:+.2f} dB" in part
        assert f"harm {trained[2][f'{prefix}/harm_rate']:.0%}" in part


def test_the_summary_shows_gains_and_harm(trained):
    metrics = trained[2]
    for prefix in ("val", "pairs"):
        rows = {row[0]: row[1:] for row in summary_rows(metrics, prefix)}
        assert rows["Gain"][2] == f"{metrics[f'{prefix}/gain_psnr']:+.2f}"
        assert rows["Gain after colour match"] == [
            f"{metrics[f'{prefix}/matched_gain_ssim']:+.4f}",
            "",
            f"{metrics[f'{prefix}/matched_gain_psnr']:+.2f}",
        ]
        assert f"{metrics[f'{prefix}/harm_rate']:.1%}" in harm_line(metrics, prefix)
    assert harm_line({}, "val") is None
