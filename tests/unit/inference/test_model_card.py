"""Model cards: what they say, what they keep to themselves, and whose file they never overwrite."""

import json

import pytest
import torch
import yaml

from crrn.errors import ExportError
from crrn.inference.model_card import card_place, files_of, gain_lines, metrics_of, write_card
from crrn.nets import CRRN, GiN, save_network

DIFFERENCES = {"1x37x203": 2e-7, "1x1x1": 0.0}
METRICS = {
    f"val/{row}_{measure}": value
    for row, value in (("background", 0.75), ("identity_background", 0.5))
    for measure in ("ssim", "si", "psnr")
}


@pytest.fixture
def run(tmp_path):
    """A run directory with a narrow network, whose photos lay in a private folder."""
    folder = tmp_path / "runs" / "mine"
    network = CRRN(1 / 32)
    save_network(network, folder / "weights.safetensors")
    record = {
        "config": {
            "seed": 77,
            "data": {
                "background": "/home/someone/photos",
                "batches": {"batch_size": 12},
                "validation": {"mixtures": 64},
            },
            "mixing": {"_target_": "crrn.mixing.PaperMixing", "alpha": [0.8, 1.0]},
            "stages": {"order": ["gin"], "gin": {"epochs": 3, "learning_rate": 0.001}},
        },
        "sessions": [{"command": ["train.py", "/home/someone"], "versions": {"torch": "2.15.0"}}],
        "init": {"iin.encoder": {"source": "/home/someone/vgg.pth", "digest": "fedcba9876543210"}},
        "data": {
            "fingerprint": "0123456789abcdef",
            "background": {"source": "/home/someone/photos", "training": 874, "held_out": 52},
        },
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "summary.json").write_text(json.dumps(METRICS))
    return network, folder / "weights.safetensors"


def card_of(run, files=None, licence=None):
    network, checkpoint = run
    return write_card(network, checkpoint, files or {"model.onnx": DIFFERENCES}, licence, "mine", "0.1.0", "d1")


def test_a_card_says_where_the_network_comes_from(run):
    card = card_of(run, licence="cc-by-4.0")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0" and front["pipeline_tag"] == "image-to-image"
    count = sum(parameter.numel() for parameter in run[0].parameters())
    for said in (
        "# mine",
        f"{count:,} parameters",
        "0123456789abcdef",
        "`photos`, 874 to train on, 52 held out",
        "Seed: 77",
        "PaperMixing (alpha 0.8, 1.0)",
        "gin: 3 epochs at 0.001",
        "First weights: iin.encoder of a file (digest fedcba9876543210), the rest random",
        "| Background, estimated | 0.7500 | 0.7500 | 0.75 |",
        "64 mixtures of held-out photos",
        "| `model.onnx` | 2.0e-07 | 0.0e+00 |",
        "onnxruntime.InferenceSession",
    ):
        assert said in card, said
    assert "Reflection, estimated" not in card  # no figure is known
    assert "/home/someone" not in card


def test_a_bare_file_has_a_card_too(tmp_path):
    network = GiN(1 / 32)
    save_network(network, tmp_path / "bare.safetensors")
    card = write_card(network, tmp_path / "bare.safetensors", {"m.pt2": DIFFERENCES}, None, "bare", "0.1.0", "d")
    assert "license:" not in card and "mixtures: PSNR" not in card
    assert "`gradient`" in card and "`background`" not in card
    assert "gradient, *others" in card


def test_metrics_are_only_those_of_the_checkpoint_itself(run):
    folder = run[1].parent
    assert metrics_of(run[1]) == METRICS
    (folder / "joint").mkdir()
    torch.save(
        {"callbacks": {"Checkpoints": {"metrics": {"val/background_ssim": 0.9, "loss": 3.0}}}},
        folder / "joint/best.ckpt",
    )
    assert metrics_of(folder / "joint/best.ckpt") == {"val/background_ssim": 0.9}
    assert metrics_of(folder / "joint/last.ckpt") == {}
    (folder / "summary.json").write_text("torn {")
    assert metrics_of(run[1]) == {}


def test_gains_on_mixtures_and_on_pairs_are_said():
    metrics = {"val/gain_psnr": 1.5, "val/matched_gain_psnr": -0.125, "val/harm_rate": 0.25}
    (_, line) = gain_lines(metrics)
    assert "mixtures: PSNR gain +1.50 dB" in line and "-0.12 dB once" in line and "25% of the images" in line
    pairs = {name.replace("val", "pairs"): value for name, value in metrics.items()}
    assert "pairs" in gain_lines(metrics | pairs)[2]
    assert gain_lines({"val/gain_psnr": 1.5}) == []


def test_a_card_lists_the_files_of_one_checkpoint(run, tmp_path):
    (tmp_path / "README.md").write_text(card_of(run, {"model.onnx": DIFFERENCES, "gone.pt2": DIFFERENCES}))
    (tmp_path / "model.onnx").touch()
    assert files_of(tmp_path / "README.md", "d1") == {"model.onnx": DIFFERENCES}
    assert files_of(tmp_path / "README.md", "another") == {}
    (tmp_path / "README.md").write_text("no card")
    assert files_of(tmp_path / "README.md", "d1") == files_of(tmp_path / "none.md", "d1") == {}


def test_a_readme_of_others_is_not_overwritten(run, tmp_path):
    assert card_place(tmp_path) == tmp_path / "README.md"
    (tmp_path / "README.md").write_text(card_of(run))
    assert card_place(tmp_path) == tmp_path / "README.md"
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(ExportError, match=r"README\.md"):
        card_place(tmp_path)
