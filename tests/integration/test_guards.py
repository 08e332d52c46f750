"""What a run does when a loss is no number or the machine fails: one clear sentence, and the last checkpoint intact."""

from __future__ import annotations

import csv
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from crrn.training.background import Background
from crrn.training.recovery import is_whole
from crrn.training.stage_training import StageTraining
from tests.integration.conftest import Outcome, tiny

Train = Callable[..., Outcome]

GIN = ("stages=gin", "stages.gin.epochs=2", "net=gin", "logging.checkpoint_every_n_steps=1")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the mixtures of one training step, counted from 1, not a number."""

    def poison(at: int) -> None:
        step, calls = StageTraining.training_step, iter(range(1, 100))

        def training_step(self: StageTraining, batch, batch_idx: int) -> torch.Tensor:
            if next(calls) == at:
                batch = batch._replace(mixture=batch.mixture * float("nan"))
            return step(self, batch, batch_idx)

        monkeypatch.setattr(StageTraining, "training_step", training_step)

    return poison


def test_a_loss_that_is_no_number_stops_the_run(train: Train, photos: Path, tmp_path: Path, poisoned) -> None:
    poisoned(5)
    outcome = train(*tiny(photos, *GIN, "name=nan"))
    assert outcome.status == 1 and "Traceback" not in outcome.err
    last = tmp_path / "runs/nan/gin/last.ckpt"
    # step 5 is the second of epoch 2, whose samples are 2 and 3 of the plan's epoch 1
    for words in ("step 5", "stage gin", "epoch 2", "samples 2, 3", "runs/nan/gin/last.ckpt"):
        assert words in outcome.err
    assert torch.load(last, weights_only=True)["global_step"] == 4


def test_or_the_step_is_skipped_and_counted(train: Train, photos: Path, tmp_path: Path, poisoned) -> None:
    poisoned(2)
    with pytest.warns(RuntimeWarning, match="step 2 of stage gin"):
        outcome = train(*tiny(photos, *GIN, "name=skip", "non_finite=skip"))
    assert outcome.status == 0, outcome.err
    with (tmp_path / "runs/skip/gin/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train/skipped_steps"]) for row in rows] == [0, 1, 1, 1, 1, 1]
    last = torch.load(tmp_path / "runs/skip/gin/last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in last["state_dict"].values())
    assert last["crrn"]["skipped_steps"] == 1
    # the optimizer did not move at the skipped step
    assert {state["step"].item() for state in last["optimizer_states"][0]["state"].values()} == {5}


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """A limit to the size of files, at which the system refuses to write as at a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(
    train: Train, photos: Path, tmp_path: Path, small_files, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "runs/full/gin/last.ckpt"
    step = StageTraining.training_step

    def filling(self: StageTraining, batch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            next(callback for callback in self.trainer.callbacks if isinstance(callback, Background)).finish()
            small_files(last.stat().st_size // 2)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StageTraining, "training_step", filling)
    outcome = train(*tiny(photos, *GIN, "name=full"))
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "last.ckpt" in outcome.err
    assert is_whole(last) and torch.load(last, weights_only=True)["global_step"] == 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_killed_worker_is_named(train: Train, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crrn.data.dataset import SampleDataset

    main, get = os.getpid(), SampleDataset.__getitem__

    def dying(self: SampleDataset, key):
        if os.getpid() != main and (key.epoch, key.k) == (1, 2):
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, key)

    monkeypatch.setattr(SampleDataset, "__getitem__", dying)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outcome = train(*tiny(photos, *GIN, "name=worker", "data.loading.num_workers=1", "data.loading.cache=true"))
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "data.loading.num_workers" in outcome.err and "gin/last.ckpt" in outcome.err
    assert is_whole(tmp_path / "runs/worker/gin/last.ckpt")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "data.batches.batch_size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "data.batches.batch_size",
        ),
        (MemoryError(), "data.loading.cache=false"),
    ],
)
def test_exhausted_memory_is_a_sentence(
    train: Train, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, word: str
) -> None:
    step = StageTraining.training_step

    def exhausted(self: StageTraining, batch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 2:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StageTraining, "training_step", exhausted)
    outcome = train(*tiny(photos, *GIN, "name=memory"))
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "at step 3" in outcome.err and word in outcome.err and "last.ckpt" in outcome.err


def test_weights_that_are_no_numbers_do_not_replace_good_ones(train: Train, photos: Path, tmp_path: Path) -> None:
    overrides = tiny(photos, *GIN, "name=broken", "stages.gin.learning_rate=1e-4")
    assert train(*overrides, "stages.gin.epochs=1").status == 0
    last = tmp_path / "runs/broken/gin/last.ckpt"
    before = last.read_bytes()
    good = torch.load(last, weights_only=True)
    good["optimizer_states"][0]["state"][0]["exp_avg"] *= float("nan")
    torch.save(good, last)
    outcome = train(*overrides, "resume=runs/broken/gin/last.ckpt")
    assert outcome.status == 1 and "not finite" in outcome.err, outcome.err
    assert torch.load(last, weights_only=True)["global_step"] == 3
    assert before


@pytest.mark.parametrize(
    ("number", "where"),
    [(signal.SIGINT, "step 2 of stage gin"), (signal.SIGTERM, "step 3 of stage gin")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_run_that_is_stopped_says_how_it_goes_on(
    train: Train, photos: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, where: str
) -> None:
    step = StageTraining.training_step
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def signalled(self: StageTraining, batch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 2:
            os.kill(os.getpid(), number)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StageTraining, "training_step", signalled)
    outcome = train(*tiny(photos, *GIN, "name=stopped"))
    signal.signal(signal.SIGINT, handler)
    assert outcome.status == 128 + number and "Traceback" not in outcome.err
    # SIGTERM waits for the step's end
    assert all(word in outcome.err for word in (where, "runs/stopped/gin/last.ckpt", "resume=auto"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["non_finite=ignore"], ["non_finite", "stop, skip"]),
        (["stages.gin.monitor=val/gradient_sim"], ["stages.gin.monitor", "val/gradient_si"]),
        (["stages.joint.monitor=val/background_mse"], ["stages.joint.monitor", "val/background_psnr"]),
        (["run_root=photo.jpg/runs"], ["photo.jpg/runs", "run_root"]),
        (["resume=nowhere/joint/last.ckpt"], ["nowhere/joint/last.ckpt", "does not exist"]),
        (["seed=1.5"], ["seed=1.5", "whole number"]),
        (["logging.metrics_every_n_steps=0"], ["logging.metrics_every_n_steps", "1 or more"]),
        (["trainer.precision=17-true"], ["trainer", "17-true"]),
        (["+trainer.max_epochs=3"], ["trainer.max_epochs", "stages.NAME.epochs"]),
        (["trainer.strategy=fsdp"], ["trainer.strategy=fsdp", "trainer.strategy=ddp"]),
        (["trainer.strategy=deepspeed_stage_2"], ["trainer.strategy=deepspeed_stage_2", "trainer.strategy=ddp"]),
        (["+stages.joint.loss.colour=1"], ["colour", "loss.background.l1=2"]),
        (["+optimizer.lr=1"], ["optimizer.lr", "stages.gin.learning_rate"]),
        (["+logger.colour=1"], ["logger.colour", "logger=wandb"]),
        (["data.batches.repeat=0"], ["data.batches.repeat"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_wrong_settings_are_known_before_the_first_step(
    train: Train, photos: Path, tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    (tmp_path / "photo.jpg").touch()
    short = ("stages.gin.epochs=1", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]")
    outcome = train(*tiny(photos, *short, *overrides))
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not list(tmp_path.rglob("metrics.csv")) and not (tmp_path / "nowhere").exists()


def test_a_missing_gpu_is_named_before_anything_is_written(
    train: Train, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for accelerator in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", lambda: False)
    settings = [value for value in tiny(photos) if not value.startswith("trainer.accelerator")]
    outcome = train(*settings, "trainer=gpu", "name=gpu")
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "trainer.accelerator=gpu needs a GPU" in outcome.err and not list((tmp_path / "runs/gpu").glob("*.json"))
