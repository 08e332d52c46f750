"""The preparation command from its first line to its last."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import ROOT, Command, Outcome

Prepare = Callable[..., Outcome]


@pytest.fixture
def run(command: Command) -> Prepare:
    """Runs ``crrn-prepare``, or another command, in this process."""
    call = command

    def run(*overrides: str, command: str = "prepare") -> Outcome:
        outcome = call(command, *overrides)
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    return run


def picture(path: Path, seed: int, height: int = 48, width: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = np.random.default_rng(seed).integers(60, 200, (height // 4, width // 4, 3), np.uint8)
    Image.fromarray(tiles.repeat(4, 0).repeat(4, 1)).save(path)


@pytest.fixture
def sir2(tmp_path: Path) -> Path:
    """Three scenes of SIR2's wild set, as repacked."""
    root = tmp_path / "made/SIR2"
    for n in range(3):
        picture(root / f"WildSceneDataset/withgt/blended/{n}.png", n)
        picture(root / f"WildSceneDataset/withgt/transmission_layer/{n}.png", 10 + n)
    return root


def packed(tree: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*.png")):
            file.write(path, path.relative_to(tree.parent))
    return archive


@pytest.mark.slow
def test_from_an_archive_to_an_evaluation_of_the_same_fingerprint(run: Prepare, sir2: Path, tmp_path: Path) -> None:
    archive = packed(sir2, tmp_path / "SIR2.zip")
    given = ("benchmark=[sir2]", "benchmark.sir2.subsets=[wildscene]")
    outcome = run(f"archive={archive}", *given)
    assert outcome.status == 1 and re.search(
        "^error: .*sir2.* 1 x count", outcome.err, re.MULTILINE
    )  # 55, 100 or 101 are published
    assert "55 or 100 or 101" in outcome.out
    assert "withgt" in str(next((tmp_path / "datasets/SIR2").rglob("0.png")))

    archive.unlink()  # the tree that is there is enough
    outcome = run("archive=SIR2.zip", *given, "strict=false")
    assert outcome.status == 0, outcome.err
    index = json.loads((tmp_path / "prepared/sir2.json").read_text())
    assert index["subsets"] == {"wildscene": 3} and [problem["kind"] for problem in index["problems"]] == ["count"]
    assert index["fingerprint"] in outcome.out

    outcome = run(*given, "strict=false", "protocol=[native]", "device=cpu", "cases=0", "name=e", command="eval")
    assert outcome.status == 0, outcome.err
    (result,) = json.loads((tmp_path / "evaluations/e/summary.json").read_text())["results"]
    assert result["fingerprint"] == index["fingerprint"] and result["removers"]["identity"]["images"] == 3


def test_every_finding_is_named_and_counted(run: Prepare, sir2: Path, tmp_path: Path) -> None:
    wild = sir2 / "WildSceneDataset/withgt"
    for n in range(3, 20):
        picture(wild / f"blended/{n}.png", n)
    picture(wild / "transmission_layer/1.png", 1, 44, 64)
    torn = wild / "blended/2.png"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    picture(wild / "blended/21.png", 0)  # scene 0 again
    picture(wild / "transmission_layer/21.png", 99)
    outcome = run("benchmark=[sir2,real20]", f"benchmark.sir2.root={wild}", "benchmark.real20.root=nowhere")
    assert outcome.status == 1
    assert "17 x unmatched, 1 x size, 1 x count, 1 x unreadable, 1 x duplicate" in outcome.err
    assert "sir2" in outcome.err and "real20" in outcome.err
    for part in ("21 findings", "and 7 more", "48x64", "44x64"):
        assert part in outcome.out, part
    problems = json.loads((tmp_path / "prepared/sir2.json").read_text())["problems"]
    assert len(problems) == 21 and any("2.png" in problem["what"] for problem in problems)


def test_photos_become_a_reflection_set(run: Prepare, tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"shots/{n}.jpg", n, 96, 128)
    (tmp_path / "shots/4.heic").write_text("")
    outcome = run("rid=shots", "screening.min_side=64")
    assert outcome.status == 0, outcome.err
    assert "3 of 3 photos kept" in outcome.out and "1 .heic" in outcome.out and "photos: 3/3" in outcome.err
    assert len(list((tmp_path / "prepared/shots/photos").rglob("*.jpg"))) == 3
    (tmp_path / "shots/5.jpg").write_text("no picture")
    outcome = run("rid=shots", "screening.min_side=64", "output=prepared/shots")
    assert outcome.status == 1 and "5.jpg" in outcome.err
    outcome = run("rid=shots", "screening.min_side=64", "strict=false")
    assert outcome.status == 0 and "unreadable" in outcome.out


def test_shifted_pairs_are_cropped_and_duplicates_named(run: Prepare, tmp_path: Path) -> None:
    for n, shift in enumerate((0, 3)):
        picture(tmp_path / "whole.png", n, 96, 128)
        photo = np.asarray(Image.open(tmp_path / "whole.png"))
        for role, start in (("blended", 4), ("transmission_layer", 4 - shift)):
            (tmp_path / "shots" / role).mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo[:, start : start + 120]).save(tmp_path / f"shots/{role}/[red]hall_{n}.png")
    (tmp_path / "SIR2/deep").mkdir(parents=True)
    with Image.open(tmp_path / "shots/blended/[red]hall_0.png") as mixture:
        mixture.resize((240, 192)).save(tmp_path / "SIR2/deep/7.png")
    outcome = run("pairs=shots", "against=[SIR2]")
    assert outcome.status == 0, outcome.err
    assert "shots: 2 pairs, 1 of them cropped" in outcome.out and "[red]hall_1.png (+3.0" in outcome.out
    assert "1 near-duplicates with photos of against=" in outcome.out and "SIR2/deep/7.png" in outcome.out
    assert "pairs: 2/2" in outcome.err and "against SIR2: 1/1" in outcome.err
    assert "data.sources.pairs=[prepared/shots]" in outcome.out
    first, second = (
        np.asarray(Image.open(tmp_path / f"prepared/shots/{role}/[red]hall_1.png"))
        for role in ("blended", "transmission_layer")
    )
    assert first.shape == (96, 117, 3) and np.array_equal(first, second)

    picture(tmp_path / "shots/blended/[red]hall_2.png", 2)
    outcome = run("pairs=shots")
    assert outcome.status == 1 and "has no background beside it" in outcome.out
    assert "error: 1 files or pairs cannot be used; the first: [red]hall_2: " in outcome.err
    assert run("pairs=shots", "strict=false").status == 0


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((), "rid="),
        (("rid=a", "benchmark=[sir2]"), "benchmark="),
        (("archive=a.zip", "benchmark=[sir2,real20]"), "archive="),
        (("archive=a.zip", "benchmark=[sir2]"), "a.zip"),
        (("benchmark=[folder]",), "benchmark.folder.root"),
        (("benchmark=[sir2]", "+benchmark.sir2.rot=a"), "root?"),
        (("benchmark=[sir2]", "+strickt=false"), "strict?"),
        (("rid=missing",), "missing"),
        (("rid=missing", "screening.dark=none"), "screening.dark=none"),
        (("rid=missing", "+screening.drak=1"), "dark?"),
        (("pairs=a", "rid=a"), "pairs="),
        (("benchmark=[sir2]", "against=[a]"), "against="),
        (("pairs=missing",), "missing"),
        (("pairs=missing", "alignment.reliability=2"), "alignment.reliability=2"),
        (("pairs=missing", "+alignment.largst=1"), "largest?"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_sentence(overrides: tuple[str, ...], says: str, run: Prepare) -> None:
    outcome = run(*overrides)
    assert outcome.status == 1 and says in outcome.err, outcome.err
    assert outcome.err.count("error: ") == 1


def test_the_module_answers_for_help_and_for_a_mistake_without_torch() -> None:
    script = (
        "import runpy, sys\n"
        "try: runpy.run_module('src.prepare', run_name='__main__')\n"
        "finally: print(*{'torch', 'cv2', 'lightning'} & sys.modules.keys(), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    for arguments, status, says in ((["--help"], 0, "rid=FOLDER"), (["+strickt=1", "benchmark=[sir2]"], 1, "strict?")):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status and says in done.stdout + done.stderr
        assert done.stderr.splitlines()[-1] == ""


def test_real_sets_are_sound(run: Prepare, shared_data: Path, tmp_path: Path) -> None:
    outcome = run("benchmark=[ceilnet_synthetic,ceilnet_real]", f"data_root={shared_data}")
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("Nothing wrong") == 2
    indexes = [json.loads((tmp_path / f"prepared/ceilnet_{kind}.json").read_text()) for kind in ("synthetic", "real")]
    assert [index["images"] for index in indexes] == [23, 45]
    assert [index["layers"]["reflection"] for index in indexes] == [23, 0]
