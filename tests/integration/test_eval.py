"""The evaluation command from its first line to its last, on tiny pairs."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from crrn.image.picture import to_tensor
from crrn.inference.predictor import Predictor
from crrn.metrics import named_protocol
from crrn.nets import CRRN, Prediction, save_network
from tests.conftest import write_photo
from tests.integration.conftest import ROOT, Command, Outcome

Evaluate = Callable[..., Outcome]
IMAGES = 5


@pytest.fixture
def evaluate(command: Command) -> Evaluate:
    """Runs ``crrn-eval`` on the pairs in this process."""
    return partial(command, "eval", "benchmark=[folder]", "benchmark.folder.root=pairs", "device=cpu", "name=tiny")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Five triplets of 48x64."""
    root = tmp_path / "pairs"
    for n in range(IMAGES):
        for folder, seed in (("transmission_layer", n), ("reflection_layer", 50 + n)):
            write_photo(root / folder / f"{n}.png", seed, 48, 64)
        background, reflection = (
            pixels(root / f"transmission_layer/{n}.png"),
            pixels(root / f"reflection_layer/{n}.png"),
        )
        mixture = (background * 0.7 + reflection * 0.3).astype(np.uint8)
        (root / "blended").mkdir(exist_ok=True)
        Image.fromarray(mixture).save(root / f"blended/{n}.png")
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A network of small width that was never trained."""
    torch.manual_seed(0)
    save_network(CRRN(width=0.05), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)


def table(root: Path, protocol: str, remover: str) -> list[dict[str, str]]:
    with (root / f"evaluations/tiny/images/pairs/{protocol}/{remover}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_removers_times_protocols_with_the_identity(
    evaluate: Evaluate, pairs: Path, checkpoint: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "other_tool"
    outputs.mkdir()
    for n in range(IMAGES):  # another tool that knows the truth
        (outputs / f"{n}.png").write_bytes((pairs / f"transmission_layer/{n}.png").read_bytes())
    removers = f"removers=[{checkpoint},folder:{outputs}]"
    outcome = evaluate(removers, "protocol=[crrn,native,errnet]", "save_outputs=true", "cases=1")
    assert outcome.status == 0, outcome.err

    rows = table(tmp_path, "errnet", "identity")
    for n, row in enumerate(rows):
        background, mixture = (pixels(pairs / folder / f"{n}.png") for folder in ("transmission_layer", "blended"))
        bands = [
            structural_similarity(background[..., c], mixture[..., c], data_range=255, gaussian_weights=False)
            for c in range(3)
        ]
        decibel = 10 * np.log10(255**2 / np.square(background - mixture).mean((0, 1)))
        assert float(row["ssim"]) == pytest.approx(np.mean(bands), abs=1e-6)
        assert float(row["psnr"]) == pytest.approx(decibel.mean(), abs=1e-6)
    assert all(float(row["psnr"]) == 100 for row in table(tmp_path, "native", "other_tool"))

    folder = tmp_path / "evaluations/tiny"
    summary = json.loads((folder / "summary.json").read_text())
    assert [result["protocol"] for result in summary["results"]] == ["crrn", "native", "errnet"]
    for result in summary["results"]:
        assert list(result["removers"]) == ["identity", "small", "other_tool"]
        assert len(result["fingerprint"]) == 16 and result["masks"].startswith("derived")
    errnet = summary["results"][2]["removers"]["identity"]["metrics"]["psnr"]
    assert errnet["mean"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]))
    assert errnet["low"] < errnet["mean"] < errnet["high"] and errnet["images"] == IMAGES
    assert {test["first"] for test in summary["results"][0]["tests"]} == {"small", "other_tool"}
    assert f"{IMAGES} images" in (folder / "summary.md").read_text() and "identity" in outcome.out
    with Image.open(folder / "outputs/pairs/none/small/0.png") as saved:
        assert saved.size == (64, 48)
    kept = json.loads((folder / "cases/pairs/cases.json").read_text())
    assert [entry["kind"] for entry in kept] == ["worst", "median", "best"]


def test_gains_are_in_the_images_the_tables_and_the_second_start(
    evaluate: Evaluate, pairs: Path, checkpoint: Path, tmp_path: Path
) -> None:
    half, brighter = tmp_path / "half", tmp_path / "brighter"
    for n in range(IMAGES):
        background, mixture = (pixels(pairs / folder / f"{n}.png") for folder in ("transmission_layer", "blended"))
        half.mkdir(exist_ok=True), brighter.mkdir(exist_ok=True)
        Image.fromarray(((background + mixture) / 2).round().astype(np.uint8)).save(half / f"{n}.png")
        Image.fromarray((0.6 * mixture + 20).round().astype(np.uint8)).save(brighter / f"{n}.png")
    options = ("protocol=[native]", "cases=0", "benchmark.folder.scene_pattern='([0-3])'")
    assert evaluate(f"removers=[folder:{half}]", *options).status == 0
    outcome = evaluate(f"removers=[folder:{half},folder:{brighter}]", *options)  # the identity is done
    assert outcome.status == 0, outcome.err

    identity, halved, toned = (table(tmp_path, "native", label) for label in ("identity", "half", "brighter"))
    assert all(row["gain_psnr"] == row["harm_rate"] == "" and row["matched_psnr"] for row in identity)
    for base, row, tone in zip(identity, halved, toned, strict=True):
        for metric in ("psnr", "ssim", "matched_psnr", "matched_ssim"):
            gain = metric[:-4] + "gain_" + metric[-4:]
            assert float(row[gain]) == pytest.approx(float(row[metric]) - float(base[metric]))
        assert float(row["gain_psnr"]) == pytest.approx(6.02, abs=0.2) and float(row["harm_rate"]) == 0
        assert float(row["matched_gain_psnr"]) > 3
        # a change of tone is harm, and nothing once the colours are matched
        assert float(tone["gain_psnr"]) < -0.05 and float(tone["harm_rate"]) == 1
        assert abs(float(tone["matched_gain_psnr"])) < 0.1
    assert [row["scene"] for row in halved] == ["0", "1", "2", "3", ""]

    folder = tmp_path / "evaluations/tiny"
    entry = json.loads((folder / "summary.json").read_text())["results"][0]["removers"]["half"]
    interval = entry["metrics"]["matched_gain_psnr"]
    assert interval["mean"] == pytest.approx(np.mean([float(row["matched_gain_psnr"]) for row in halved]))
    assert interval["low"] < interval["mean"] < interval["high"] and interval["scenes"] == IMAGES
    for text in ((folder / "summary.md").read_text(), outcome.out):
        assert "pairs, protocol native: gain" in text and "matched PSNR gain (dB)" in text


def test_no_value_is_best_among_methods_on_different_images(evaluate: Evaluate, pairs: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "partly"
    outputs.mkdir()
    for n in range(IMAGES - 1):
        (outputs / f"{n}.png").write_bytes((pairs / f"transmission_layer/{n}.png").read_bytes())
    outcome = evaluate(f"removers=[folder:{outputs}]", "protocol=[native]", "cases=0", "strict=false")
    assert outcome.status == 1 and "1 case could not be evaluated" in outcome.err, outcome.err
    (result,) = json.loads((tmp_path / "evaluations/tiny/summary.json").read_text())["results"]
    assert {"psnr", "ssim"} <= set(result["differing"]) and not {"gain_psnr"} & set(result["differing"])
    main = (tmp_path / "evaluations/tiny/summary.md").read_text().split("protocol native: gain")[0]
    assert "| 100.00" in main and "**100.00" not in main and "best" in main


@pytest.mark.slow
def test_networks_work_at_their_own_size_where_the_protocol_has_none(
    evaluate: Evaluate, pairs: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = CRRN(width=0.05).eval()
    torch.nn.init.normal_(network.iin.head[-1].weight, std=0.05)  # type: ignore[union-attr, arg-type]
    save_network(network, tmp_path / "net.safetensors", Prediction(working_size=32, strength=50))
    removers = f"removers=[{tmp_path}/net.safetensors,yl19]"
    outcome = evaluate(removers, "protocol=[crrn,native]", "save_outputs=true", "cases=0")
    assert outcome.status == 0, outcome.err

    photo = to_tensor(np.asarray(Image.open(pairs / "blended/0.png")))
    with torch.no_grad():
        expected = Predictor(network, working_size=32, strength=50)(photo).background
        assert (expected - Predictor(network, strength=50)(photo).background).abs().max() > 2 / 255
    folder = tmp_path / "evaluations/tiny"
    saved = to_tensor(np.asarray(Image.open(folder / "outputs/pairs/none/net/0.png")))
    assert (saved - expected).abs().max() < 0.51 / 255
    # the protocol's own size is not touched
    fitted = to_tensor(named_protocol("crrn").fit(np.asarray(Image.open(pairs / "blended/0.png"))))
    fixed = to_tensor(np.asarray(Image.open(folder / "outputs/pairs/224x288/net/0.png")))
    assert (fixed - Predictor(network, strength=50)(fitted).background).abs().max() < 0.51 / 255

    lines = (folder / "summary.md").read_text().splitlines()
    for row in (
        "| identity | 224x288 |",
        "| net | 224x288, strength 50 |",
        "| identity | native |",
        "| yl19 | native |",
    ):
        assert any(line.startswith(row) for line in lines), row
    assert any(line.startswith("| net | 32, strength 50 |") for line in lines)
    refused = evaluate(removers, "protocol=[crrn,native]", "working_size=native")
    assert refused.status == 1 and re.search(r"\bnet\b", refused.err)
    again = evaluate(removers, "protocol=[native]", "working_size=native", "strength=100", "name=other", "cases=0")
    assert again.status == 0
    assert "| net | native |" in (tmp_path / "evaluations/other/summary.md").read_text()


def test_labels_are_given_as_a_mapping(evaluate: Evaluate, pairs: Path, tmp_path: Path) -> None:
    truth = pairs / "transmission_layer"
    outcome = evaluate(f"removers={{truth:folder:{truth},milder:{{name:lb14,smoothness:40}}}}", "cases=0")
    assert outcome.status == 0, outcome.err
    summary = json.loads((tmp_path / "evaluations/tiny/summary.json").read_text())
    assert list(summary["results"][0]["removers"]) == ["identity", "truth", "milder"]
    assert not (tmp_path / "evaluations/tiny/cases").exists()  # cases=0


def test_a_remover_that_cannot_be_loaded_is_named_before_any_is_run(
    evaluate: Evaluate, pairs: Path, tmp_path: Path
) -> None:
    outcome = evaluate("removers=[yl19,gone.safetensors]")
    assert outcome.status == 1 and "gone.safetensors" in outcome.err
    assert not (tmp_path / "evaluations/tiny/images").exists()


def test_a_second_start_does_only_what_is_not_done(evaluate: Evaluate, pairs: Path, tmp_path: Path) -> None:
    assert evaluate("protocol=[native]").status == 0
    path = tmp_path / "evaluations/tiny/images/pairs/native/identity.csv"
    whole = path.read_text()
    lines = whole.splitlines()
    # The first row is marked, to see that it is kept; the fourth is torn, as by a kill.
    marked = [lines[0], lines[1].replace("pairs", "KEPT", 1), *lines[2:4], lines[4][:20]]
    path.write_text("\n".join(marked))
    outcome = evaluate("protocol=[native]")
    assert outcome.status == 0, outcome.err
    again = table(tmp_path, "native", "identity")
    assert [row["image"] for row in again] == [str(n) for n in range(IMAGES)]
    assert again[0]["subset"] == "KEPT"
    changing = ("subset", "seconds")
    before = list(csv.DictReader(whole.splitlines()))
    assert [{**row, **dict.fromkeys(changing)} for row in again] == [
        {**row, **dict.fromkeys(changing)} for row in before
    ]
    # More protocols may join; other images under the same name may not.
    assert evaluate("protocol=[native,windowseat]").status == 0
    write_photo(pairs / "blended/2.png", 77, 48, 64)
    outcome = evaluate("protocol=[native]")
    assert outcome.status == 1 and "fingerprint" in outcome.err and "name=NEW" in outcome.err


def test_ctrl_c_is_one_sentence(evaluate: Evaluate, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crrn.evaluation.runner.Evaluation._case", stopped)
    outcome = evaluate()
    assert outcome.status == 130 and outcome.err.splitlines()[-1].startswith("stopped: ")
    assert "Traceback" not in outcome.err


def without_partner(root: Path) -> None:
    (root / "transmission_layer/1.png").unlink()


def of_another_size(root: Path) -> None:
    write_photo(root / "transmission_layer/1.png", 1, 48, 60)


def torn(root: Path) -> None:
    path = root / "blended/1.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_a_mask_too_few(root: Path) -> None:
    with_an_empty_mask(root)
    (root / "masks/1.png").unlink()


def with_an_empty_mask(root: Path) -> None:
    for n in range(IMAGES):
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.full((48, 64), 255 * (n != 1), np.uint8)).save(root / f"masks/{n}.png")


@pytest.mark.parametrize(
    ("harm", "says", "overrides", "left"),
    [
        (without_partner, "unmatched", (), IMAGES - 1),
        (of_another_size, "differ in size", (), IMAGES - 1),
        (torn, "blended/1.png", (), IMAGES - 1),
        (with_an_empty_mask, "empty mask", ("benchmark.folder.masks=pairs/masks",), IMAGES),
        (with_a_mask_too_few, "no mask", ("benchmark.folder.masks=pairs/masks",), IMAGES),
        (lambda root: None, "count", ("benchmark.folder.count=7",), IMAGES),
    ],
    ids=["unmatched", "size", "torn", "empty mask", "no mask", "count"],
)
def test_bad_data_is_an_error_or_reported(
    harm: Callable[[Path], None],
    says: str,
    overrides: tuple[str, ...],
    left: int,
    evaluate: Evaluate,
    pairs: Path,
    tmp_path: Path,
) -> None:
    harm(pairs)
    outcome = evaluate(*overrides)
    assert outcome.status == 1 and says in outcome.err and "Traceback" not in outcome.err

    outcome = evaluate(*overrides, "strict=false", "name=tiny")
    assert outcome.status == (harm is torn), "what is found in the middle is a failure: " + outcome.err
    summary = json.loads((tmp_path / "evaluations/tiny/summary.json").read_text())
    identity = summary["results"][0]["removers"]["identity"]
    assert identity["images"] == left
    reported = summary["evaluation"]["benchmarks"]["pairs"]["problems"] or identity["problems"]
    if says.endswith("mask"):
        assert identity["metrics"]["ssim_r"]["skipped"] == 1 and identity["metrics"]["ssim"]["skipped"] == 0
    else:
        assert reported and ("1 problem with the data" in outcome.out or "could not be evaluated" in outcome.out)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("removers=[nobody]",), "nobody"),
        (("removers=[missing.safetensors]",), "missing.safetensors"),
        (("removers=[folder:nowhere]",), "nowhere"),
        (("protocol=[]",), "protocol"),
        (("benchmark.folder.mixture=blnded",), "blnded"),
        (("+benchmark.folder.mask=m",), "benchmark.folder.mask"),
        (("+strickt=false",), "strict?"),
        (("device=cuda:99",), "device=cuda:99"),
        (("perceptual.lpips_alex_weights=no.pth",), "no.pth"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_wrong_setting_is_one_sentence(
    overrides: tuple[str, ...], says: str, evaluate: Evaluate, pairs: Path
) -> None:
    outcome = evaluate(*overrides)
    assert outcome.status == 1 and says in outcome.err, outcome.err
    assert "Traceback" not in outcome.err


def test_the_module_answers_for_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "src.eval", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "removers=" in done.stdout
    assert "floor32" in done.stdout and "optimizer" not in done.stdout  # its own groups alone
