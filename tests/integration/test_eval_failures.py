"""Evaluations in which single cases fail: of memory, of a method's error, of a damaged file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crrn.image.picture import to_tensor
from crrn.inference.memory import BYTES_PER_PIXEL, used
from crrn.layers import Layers
from crrn.metrics import named_protocol
from crrn.nets import CRRN, Prediction, save_network
from crrn.removers import load_remover
from crrn.solvers import SOLVERS
from tests.integration.conftest import ROOT
from tests.integration.test_eval import IMAGES, Evaluate, evaluate, pairs, table

__all__ = ["evaluate", "pairs"]


class Moody(SOLVERS["identity"]):  # type: ignore[misc, name-defined]
    """Darkens; fails on photos that are brighter than the others."""

    limit = 2.0

    def forward(self, mixture: torch.Tensor) -> Layers:
        if mixture.mean() > self.limit:
            raise torch.linalg.LinAlgError("The system is singular.")
        return Layers(background=mixture * 0.9, reflection=mixture * 0.1)


def enlarge(pairs: Path, name: str, height: int, width: int) -> None:
    for folder in ("blended", "transmission_layer", "reflection_layer"):
        path = pairs / folder / name
        with Image.open(path) as photo:
            photo.resize((width, height)).save(path)


def test_a_case_that_fails_is_recorded_while_the_others_go_on(
    evaluate: Evaluate, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "moody", Moody)
    monkeypatch.setitem(BYTES_PER_PIXEL, "moody", 24.0)
    means = [np.asarray(Image.open(pairs / f"blended/{n}.png")).mean() / 255 for n in range(IMAGES)]
    brightest = int(np.argmax(means))
    monkeypatch.setattr(Moody, "limit", float(np.mean(sorted(means)[-2:])))
    torn = pairs / f"blended/{(brightest + 1) % IMAGES}.png"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])  # its header is whole

    options = ("removers=[moody]", "protocol=[native,errnet]", "cases=1")
    outcome = evaluate(*options)
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "error: 3 cases could not be evaluated" in outcome.err  # 1 of the identity, 2 of the method
    for protocol in ("native", "errnet"):
        rows = {row["image"]: row["problem"] for row in table(tmp_path, protocol, "moody")}
        assert len(rows) == IMAGES and sum(map(bool, rows.values())) == 2
        assert rows[str(brightest)].startswith("LinAlgError: The system is singular. (test_eval_failures.py:")
        assert torn.name in rows[torn.stem]
        assert [row["image"] for row in table(tmp_path, protocol, "identity") if row["problem"]] == [torn.stem]
    folder = tmp_path / "evaluations/tiny"
    summary = json.loads((folder / "summary.json").read_text())
    for result in summary["results"]:
        entry = result["removers"]["moody"]
        assert entry["images"] == IMAGES - 2 and set(entry["problems"]) == {str(brightest), torn.stem}
        assert {"psnr", "ssim"} <= set(result["differing"])
        assert {test["count"] for test in result["tests"]} == {IMAGES - 2}, "compared on the images that both have"
    told = (folder / "summary.md").read_text()
    assert "moody: 2 images could not be evaluated, left out of all means: " in told
    assert "No best value of" in told and "LinAlgError" in told
    pictures = {entry["case"] for entry in json.loads((folder / "cases/pairs/cases.json").read_text())}
    assert pictures and not pictures & {str(brightest), torn.stem}

    # the next start tries the failed ones alone
    monkeypatch.setattr(Moody, "limit", 2.0)
    seen: list[int] = []
    monkeypatch.setattr(Moody, "forward", lambda self, image: seen.append(1) or Layers(image * 0.9, image * 0.1))
    again = evaluate("removers=[moody]", "protocol=[native,errnet]", "cases=0")
    assert again.status == 1 and len(seen) == 1, "the torn one does not reach the method"
    assert "the first: pairs, " + torn.stem in again.err
    kept = {row["image"]: row for row in table(tmp_path, "native", "moody")}
    assert [image for image, row in kept.items() if row["problem"]] == [torn.stem]
    assert kept[str(brightest)]["psnr"] and not kept[str(brightest)]["problem"]


def test_a_large_case_fails_within_the_limit_and_passes_with_more(
    evaluate: Evaluate, pairs: Path, tmp_path: Path
) -> None:
    enlarge(pairs, "3.png", 1000, 1300)  # 0.36 GB by the constants of `crrn.evaluation.memory`
    limit = (used(torch.device("cpu")) + 0.35e9) / 1e9  # 0.1 GB of it are left to the allocator
    outcome = evaluate("protocol=[native]", "cases=0", f"memory={limit}")
    assert outcome.status == 1 and "1 case could not be evaluated" in outcome.err
    (failed,) = (row for row in table(tmp_path, "native", "identity") if row["problem"])
    assert failed["image"] == "3" and "raise memory" in failed["problem"] and " GB" in failed["problem"]
    assert evaluate("protocol=[native]", "cases=0").status == 0
    assert not any(row["problem"] for row in table(tmp_path, "native", "identity"))
    refused = evaluate("memory=0")
    assert refused.status == 1 and "memory=0 is not a valid limit" in refused.err


def test_networks_go_in_tiles_where_solvers_are_refused(pairs: Path) -> None:
    """The same seams as those of predict, far from 8 bits' rounding; a solver says what it needs."""
    from crrn.data.benchmarks import Case
    from crrn.errors import DataError
    from crrn.evaluation.methods import ModuleOutputs

    torch.manual_seed(0)
    network = CRRN(0.03).eval()
    torch.nn.init.normal_(network.iin.head[-1].weight, std=0.02)  # type: ignore[union-attr, arg-type]
    photo = np.asarray(Image.open(pairs / "blended/0.png").resize((640, 64)))
    mixture, protocol = to_tensor(photo), named_protocol("native")
    case = Case("0", "", pairs / "blended/0.png")
    remover = ModuleOutputs(network, "cpu", Prediction())
    whole = remover.layers(case, mixture, photo, protocol)
    remover.own.tile = 576  # what a short memory leads to
    tiled = remover.layers(case, mixture, photo, protocol)
    assert remover.own.tile_for(64, 640) == (64, 576)
    for layer, other in zip(whole[:2], tiled[:2], strict=True):
        assert (layer - mixture).abs().max() > 2 / 255, "the network changes the photo"
        assert (layer - other).abs().max() < 0.5 / 255

    scarce = (used(torch.device("cpu")) + 0.05e9) / 1e9
    with pytest.raises(DataError, match=r"a solver on the whole image: it needs 0\.00 GB more and has 0\.00"):
        ModuleOutputs(load_remover("yl19"), "cpu", Prediction(), scarce).layers(case, mixture, photo, protocol)
    with pytest.raises(DataError, match="too little for tiles"):
        ModuleOutputs(network, "cpu", Prediction(), 1e-9).layers(case, mixture, photo, protocol)


MEASURED = """
import sys, torch
torch.set_num_threads(1)
from crrn.allocator import peak_memory
from crrn.cli import eval as command
import crrn.evaluation.runner, crrn.evaluation.cases, crrn.evaluation.show, crrn.evaluation.statistics
from crrn.inference import predictor
from crrn.inference.memory import used
limit = used(torch.device("cpu")) + float(sys.argv.pop(1))
sys.argv.append(f"memory={limit / 1e9}")
seen, size = [], predictor.tile_size
predictor.tile_size = lambda *arguments: seen.append(size(*arguments)) or seen[-1]
try:
    command.main()
finally:
    print("TILES", seen, "OVER", peak_memory() - limit)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak from /proc")
def test_the_limit_holds_from_the_files_to_the_tables(pairs: Path, tmp_path: Path) -> None:
    """The network would take 0.9 GB on the whole image."""
    save_network(CRRN(0.25), tmp_path / "net.safetensors")
    enlarge(pairs, "3.png", 1300, 1500)
    arguments = ["benchmark=[folder]", f"benchmark.folder.root={pairs}", "device=cpu", "name=tiny", "cases=1"]
    arguments += [f"removers=[{tmp_path / 'net.safetensors'}]", "protocol=[native,errnet]"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(0.75e9), *arguments, f"evaluation_root={tmp_path / 'evaluations'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("TILES"))
    assert "TILES []" not in told, "the image went in tiles"
    assert float(told.split()[-1]) <= 0, told
    assert not any(row["problem"] for row in table(tmp_path, "native", "net"))
