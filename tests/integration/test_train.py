"""The training command from its first line to its last, on tiny photos."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import crrn
from crrn.files import file_digest
from crrn.inference.predictor import Predictor
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture
from crrn.nets import CRRN, GiN, IiN, Prediction, record_of, save_network
from crrn.training import Optimizer, StageTraining
from crrn.training.schedules import multistep
from tests.integration.conftest import ROOT, SHORT, Outcome, stopped_at, tiny

Train = Callable[..., Outcome]


def curve(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_both_stages_leave_a_complete_run_directory(train: Train, photos: Path, tmp_path: Path) -> None:
    outcome = train(*tiny(photos, *SHORT, "name=whole", "ema_decay=0.9"))
    assert outcome.status == 0, outcome.err
    run = tmp_path / "runs" / "whole"

    record = json.loads((run / "run.json").read_text())
    assert record["data"]["background"]["training"] + record["data"]["background"]["held_out"] == 8
    assert record["sessions"][0]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "width: 0.05" in (run / "config.yaml").read_text()

    for stage, epochs in (("gin", 1), ("joint", 2)):
        steps = [int(row["step"]) for row in curve(run / stage / "metrics.csv")]
        assert steps == list(range(1, 3 * epochs + 1))
        assert len(list((run / stage / "panels").glob("*.png"))) == epochs
        for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
            if name != "previous.ckpt" or stage == "joint":
                checkpoint = torch.load(run / stage / name, weights_only=True)
                assert checkpoint["crrn"]["stage"] == stage

    joint = curve(run / "joint" / "metrics.csv")
    assert {
        "train/loss",
        "train/background_ssim",
        "train/background_l1",
        "train/reflection_ssim",
        "train/gradient_si",
    } <= set(joint[0])
    assert float(joint[0]["train/learning_rate"]) == pytest.approx(1e-4)
    assert float(joint[-1]["train/learning_rate"]) == pytest.approx(1e-5)
    assert joint[2]["val/background_ssim"] and not joint[1]["val/background_ssim"]

    # seven pictures a row, enlarged five times: I, B estimated and true, R, dB
    with Image.open(next((run / "joint" / "panels").glob("*.png"))) as panel:
        assert panel.width == 7 * (48 * 5 + 4) + 4

    network = crrn.load(run / "weights.safetensors")
    assert record_of(network) == {
        "_target_": "crrn.nets.CRRN",
        "width": 0.05,
        "encoder_width": 0.05,
        "head": "additive",
    }
    estimate = network(torch.rand(1, 3, 40, 50))
    assert estimate.background.shape == (1, 3, 40, 50)
    last = torch.load(run / "joint" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, last["net." + name]) for name, value in network.state_dict().items())

    summary = json.loads((run / "summary.json").read_text())
    assert float(joint[-1]["val/background_ssim"]) == summary["val/background_ssim"]
    assert "identity" in (run / "summary.md").read_text() and "Gain" in outcome.out


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(train: Train, photos: Path, tmp_path: Path) -> None:
    overrides = tiny(photos, "stages=gin", "stages.gin.epochs=1", "name=done")
    assert train(*overrides).status == 0
    before = (tmp_path / "runs/done/gin/metrics.csv").read_bytes()
    again = train(*overrides)
    assert again.status == 1 and "resume=auto" in again.err
    resumed = train(*overrides, "resume=auto")
    assert resumed.status == 0 and "complete" in resumed.out
    assert (tmp_path / "runs/done/gin/metrics.csv").read_bytes() == before
    by_path = train(*overrides, "resume=runs/done", "name=other")
    assert by_path.status == 0 and not (tmp_path / "runs/other").exists()
    longer = train(*overrides, "resume=runs/done/gin/last.ckpt", "stages.gin.epochs=2")
    assert longer.status == 0
    assert len(curve(tmp_path / "runs/done/gin/metrics.csv")) == 6
    assert len(json.loads((tmp_path / "runs/done/run.json").read_text())["sessions"]) == 4

    both = [override for override in overrides if override != "stages=gin"]
    joint = ("stages.gin.epochs=2", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]")
    assert train(*both, *joint, "resume=auto").status == 0
    back = train(*both, *joint, "resume=runs/done/gin/best.ckpt")
    assert back.status == 1 and "move runs/done/joint away" in back.err


@pytest.mark.slow
def test_the_joint_stage_starts_from_a_given_gin(train: Train, photos: Path, tmp_path: Path) -> None:
    assert train(*tiny(photos, "stages=gin", "stages.gin.epochs=1", "name=gin", "net=gin")).status == 0
    checkpoint = tmp_path / "runs/gin/gin/best.ckpt"
    joint = (
        "stages.joint.epochs=1",
        "stages.joint.schedule.milestones=[]",
        "stages.joint.learning_rate=1e-12",
        "name=joint",
    )
    outcome = train(*tiny(photos, *joint, f"init={{gin: {checkpoint}}}"))
    assert outcome.status == 0, outcome.err
    assert not (tmp_path / "runs/joint/gin").exists()
    before, after = crrn.load(checkpoint), crrn.load(tmp_path / "runs/joint/weights.safetensors").gin
    for name, value in before.named_parameters():
        torch.testing.assert_close(dict(after.named_parameters())[name], value, atol=1e-9, rtol=0)
    noted = json.loads((tmp_path / "runs/joint/run.json").read_text())["init"]
    assert noted == {"gin": {"source": str(checkpoint), "digest": file_digest(checkpoint)}}

    other_width = train(*tiny(photos, *joint, f"init={{gin: {checkpoint}}}", "width=0.1", "name=wide"))
    assert other_width.status == 1 and "width=0.05" in other_width.err and "width=0.1" in other_width.err
    missing = train(*tiny(photos, *joint, "init={gin: nowhere.ckpt}", "name=missing"))
    assert missing.status == 1 and "nowhere.ckpt" in missing.err


@pytest.mark.slow
def test_a_resumed_run_keeps_what_it_began_with(train: Train, photos: Path, tmp_path: Path) -> None:
    """Stopped in its first stage, it needs the file no more for its second, and ends as one that was not stopped."""
    torch.manual_seed(1)
    save_network(CRRN(width=0.05), tmp_path / "given.safetensors")
    both = tiny(photos, *SHORT, "init={iin.encoder: given.safetensors}", "logging.checkpoint_every_n_steps=1")
    assert train(*both, "name=whole").status == 0
    with stopped_at(2):
        assert train(*both, "name=stopped").status != 0
    begun = load_file(tmp_path / "runs/stopped/init.safetensors")
    given = load_file(tmp_path / "given.safetensors")
    assert {name: value for name, value in given.items() if name.startswith("iin.encoder.")}.keys() == begun.keys()
    assert all(torch.equal(given[name], value) for name, value in begun.items())
    (tmp_path / "given.safetensors").unlink()
    assert train(*both, "name=stopped", "resume=auto").status == 0
    whole, resumed = (load_file(tmp_path / "runs" / name / "weights.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_a_fine_tuned_network_works_at_the_size_and_strength_of_its_start(
    train: Train, photos: Path, tmp_path: Path
) -> None:
    start = Prediction(working_size=64, strength=60)
    save_network(CRRN(width=0.05), tmp_path / "start.safetensors", start)
    joint = tiny(photos, *SHORT, "stages=joint", "init={net: start.safetensors}", "name=mine")
    with stopped_at(2):
        assert train(*joint, "logging.checkpoint_every_n_steps=1").status != 0
    (tmp_path / "start.safetensors").unlink()
    assert train(*joint, "resume=auto").status == 0
    run = tmp_path / "runs/mine"
    for place in (run, run / "joint/last.ckpt", run / "joint/weights.safetensors"):
        assert Predictor(crrn.load(place)).prediction == start
    assert Predictor(crrn.load(run), strength=80, working_size="native").prediction == Prediction(None, 80)


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_is(train: Train, photos: Path, tmp_path: Path) -> None:
    settings = tiny(photos, *SHORT, "optimizer=adamw", "optimizer.weight_decay=0.1", "ema_decay=0.9")
    freeze = ("optimizer.freeze=[iin.encoder,gin.bridge]", "+optimizer.lr_mult={iin.head: 0.1}")
    assert train(*settings, *freeze, "name=frozen").status == 0
    assert train(*settings, "stages=gin", "name=begin", "stages.gin.learning_rate=1e-12").status == 0
    began, ended = (load_file(tmp_path / "runs" / name / "weights.safetensors") for name in ("begin", "frozen"))
    for name, value in ended.items():
        if name.startswith(("iin.encoder.", "gin.bridge.")):
            assert torch.equal(value, began[name]) or "gin.bridge.1" in name, name
    bridge = "gin.bridge.1.running_mean"
    assert torch.equal(ended[bridge], torch.zeros_like(ended[bridge]))  # batch statistics as at the start
    assert not torch.equal(ended["iin.head.0.0.weight"], began["iin.head.0.0.weight"])
    checkpoint = torch.load(tmp_path / "runs/frozen/joint/last.ckpt", weights_only=True)
    rates = [group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]]
    assert rates[1] == pytest.approx(0.1 * rates[0])
    other = train(*settings, "name=frozen", "resume=runs/frozen/joint/last.ckpt")
    assert other.status == 1 and "optimizer.freeze=[iin.encoder,gin.bridge]" in other.err


@pytest.mark.slow
def test_table_2_is_one_multirun(train: Train, photos: Path, tmp_path: Path) -> None:
    short = ("stages.gin.epochs=1", "stages.joint.epochs=1", "stages.joint.schedule.milestones=[]")
    ablations = ("none", "l1_only", "iin_only", "gin_only")
    outcome = train(
        "-m", *tiny(photos, *short), "experiment=crrn_full", "name=table2", f"ablation={','.join(ablations)}"
    )
    assert outcome.status == 0, outcome.err
    jobs = {name: next((tmp_path / "runs/sweeps/table2").glob(f"ablation={name}*")) for name in ablations}

    networks = {name: type(crrn.load(job / "weights.safetensors")) for name, job in jobs.items()}
    assert networks == {"none": CRRN, "l1_only": CRRN, "iin_only": IiN, "gin_only": GiN}
    stages = {name: {stage for stage in ("gin", "joint") if (job / stage).exists()} for name, job in jobs.items()}
    assert stages == {"none": {"gin", "joint"}, "l1_only": {"gin", "joint"}, "iin_only": {"joint"}, "gin_only": {"gin"}}

    def terms(name: str, stage: str) -> set[str]:
        columns = curve(jobs[name] / stage / "metrics.csv")[0]
        return {
            key.removeprefix("train/")
            for key in columns
            if key.startswith("train/") and key.split("_")[-1] in ("ssim", "si", "l1")
        }

    whole = {"background_ssim", "background_l1", "reflection_ssim", "gradient_si"}
    assert terms("none", "joint") == whole
    assert terms("l1_only", "joint") == {"background_l1"}
    assert terms("iin_only", "joint") == whole - {"gradient_si"}
    assert terms("gin_only", "gin") == terms("l1_only", "gin") == {"gradient_si"}
    offline = [list((job / "wandb").glob("offline-run-*/run-*.wandb")) for job in jobs.values()]
    assert all(len(files) == 1 for files in offline)


ERRORS = [
    ("missing folder", ["data.background=nowhere"], ["nowhere", "data.background"]),
    ("empty folder", ["data.background=empty"], ["empty", "no photo"]),
    ("corrupt", ["data.background=corrupt"], ["broken.jpg"]),
    ("tiny", ["data.background=small"], ["tiny.jpg"]),
    ("added key", ["+data.colour=1"], ["data.colour"]),
    ("added key at the top", ["+colour=1"], ["colour"]),
    ("added trainer key", ["+trainer.max_epoch=1"], ["trainer.max_epoch", "max_epochs"]),
    ("mistyped key", ["data.batchsize=2"], ["batchsize"]),
    ("missing checkpoint", ["resume=runs/none/joint/last.ckpt"], ["runs/none/joint/last.ckpt"]),
    ("alpha", ["mixing.alpha=[0.5,1.2]"], ["mixing.alpha"]),
    ("beta", ["mixing.beta=[0.5,0.1]"], ["mixing.beta"]),
    ("size", ["data.batches.sizes=[96x160,224]"], ["224", "HEIGHTxWIDTH"]),
    ("milestones", ["stages.joint.schedule.milestones=[50]"], ["50", "0.625"]),
    ("warm-up", ["schedule@stages.joint.schedule=cosine", "stages.joint.schedule.warm_up=1"], ["warm_up", "0.05"]),
    ("epochs", ["stages.gin.epochs=0"], ["epoch"]),
    ("stage without its part", ["ablation=gin_only", "stages=joint"], ["joint", "gin"]),
    ("a network of before", ["net.architecture=iin"], ["net.architecture is now net=NAME"]),
    ("a network that is none", ["net._target_=torch.nn.ReLU"], ["net"]),
    ("a network that is not there", ["net._target_=crrn.nets.UNet"], ["crrn.nets.UNet"]),
    ("a term without its layer", ["net=iin"], ["loss.gradient=null", "IiN"]),
    ("encoder at another width", ["init=imagenet"], ["net.encoder_width=1", "init=null"]),
    ("the setting of before for an encoder", ["net.encoder_weights=null"], ["init={iin.encoder: imagenet}"]),
    ("the setting of before for GiN", ["gin_checkpoint=x.ckpt"], ["gin_checkpoint is now init={gin: PATH}"]),
    ("a path without its part", ["init=x.ckpt"], ["init={net: x.ckpt}"]),
    ("a part that is not there", ["init={encoder: x.ckpt}"], ["encoder", "gin, iin"]),
    ("a frozen module that is not there", ["optimizer.freeze=[encoder]"], ["encoder", "optimizer.freeze", "gin, iin"]),
    ("a frozen module of another stage", ["stages=gin", "optimizer.freeze=[iin.encoder]"], ["iin.encoder"]),
    ("a name for a list", ["optimizer.freeze=gin"], ["optimizer.freeze=[gin]"]),
    ("all frozen", ["optimizer.freeze=[gin]"], ["nothing to train in stage gin"]),
    ("a factor that is none", ["+optimizer.lr_mult={gin: 0}"], ["optimizer.freeze=[gin]"]),
    ("an unknown optimizer", ["optimizer.algorithm=torch.optim.Adan"], ["torch.optim.Adan", "torch.optim.AdamW"]),
    ("an optimizer's setting", ["+optimizer.weight_dacay=1"], ["weight_dacay"]),
    ("ema", ["ema_decay=2"], ["ema_decay"]),
]


@pytest.mark.parametrize(("overrides", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_wrong_input_is_answered_by_one_clear_sentence(
    train: Train, photos: Path, tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, name, content in (("corrupt", "broken.jpg", b"not a photo"), ("small", "tiny.jpg", None)):
        (tmp_path / folder).mkdir()
        for n in range(3):
            Image.new("RGB", (64, 64), (80 * n, 9, 9)).save(tmp_path / folder / f"{n}.jpg")
        if content:
            (tmp_path / folder / name).write_bytes(content)
        else:
            Image.new("RGB", (20, 20)).save(tmp_path / folder / name)
    outcome = train(*tiny(photos, *overrides))
    assert outcome.status == 1
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("ema", ["ema_decay=null", "ema_decay=0.9"])
def test_a_run_stopped_within_an_epoch_ends_with_the_same_weights_bit_for_bit(
    train: Train, photos: Path, tmp_path: Path, ema: str
) -> None:
    both = tiny(photos, *SHORT, ema, "logging.checkpoint_every_n_steps=2")
    assert train(*both, "name=whole").status == 0

    with stopped_at(4):
        assert train(*both, "name=stopped").status != 0
    assert not (tmp_path / "runs/stopped/weights.safetensors").exists()
    assert train(*both, "name=stopped", "resume=auto").status == 0

    whole, resumed = (load_file(tmp_path / "runs" / name / "weights.safetensors") for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for stage in ("gin", "joint"):
        curves = [curve(tmp_path / "runs" / name / stage / "metrics.csv") for name in ("whole", "stopped")]
        one, other = ([{k: v for k, v in row.items() if not k.startswith("speed/")} for row in rows] for rows in curves)
        assert one == other


def test_each_stage_trains_its_parameters_and_no_other(photos: Path, tmp_path: Path) -> None:
    net = CRRN(width=0.05)
    for part, loss in (
        (net.stages()["gin"], ReconstructionLoss(gradient={"si": 1.0})),
        (net.stages()["joint"], ReconstructionLoss({"ssim": 0.8, "l1": 1.0}, {"ssim": 1.0}, {"si": 1.0})),
    ):
        # the heads start at zero, which keeps gradients from what lies before it at the very first step
        for output in (net.iin.head[-1], net.gin.output):
            torch.nn.init.normal_(output.weight, std=0.01)
        net.zero_grad()
        optimizer = Optimizer("torch.optim.Adam")
        module = StageTraining(part, loss, optimizer, 1e-3, multistep)
        batch = Mixture(*torch.rand(3, 2, 3, 64, 64))
        module.loss(module(batch.mixture), module.targets(batch))[0].backward()
        trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
        assert trained == {name for name, _ in net.named_parameters() if part is net or name.startswith("gin.")}
        assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in part.parameters())
        optimized = {id(p) for group in optimizer(module.net, 1e-3).param_groups for p in group["params"]}
        assert optimized == {id(parameter) for parameter in part.parameters()}


EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_shipped_experiment_takes_a_step(train: Train, photos: Path, tmp_path: Path, experiment: str) -> None:
    overrides = [override for override in tiny(photos) if not override.startswith("data=")]
    if experiment in ("photo", "finetune"):
        overrides += [
            f"data.sources.pairs=[{photos / 'pairs'}]",
            "data.sources.pair_share=0.5",
            "net.encoder_width=null",
        ]
    shorter = ("trainer.limit_train_batches=1", "stages.joint.epochs=51", "stages.order=[joint]")
    outcome = train(f"experiment={experiment}", "data=folders", *overrides, *shorter, "+trainer.max_steps=1")
    assert outcome.status == 0, outcome.err


def test_help_names_the_groups_and_imports_no_torch(tmp_path: Path) -> None:
    command = "import sys; sys.argv = ['crrn-train', '--help']; from crrn.cli.train import main\n"
    command += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "\nablation=\n  gin_only " in done.stdout and "\n  l1_only            Table 2" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_the_module_door_works_from_a_checkout(photos: Path) -> None:
    command = [sys.executable, "-m", "src.train", "+colour=blue"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and "colour" in done.stderr and "Traceback" not in done.stderr
