"""From an evaluation to a report by the commands, and the page in a real browser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_photo
from tests.integration.conftest import Command
from tests.resources import BROWSER, BROWSER_ARGUMENTS


@pytest.fixture
def evaluated(command: Command, tmp_path: Path) -> Path:
    """evaluations/tiny: three triplets, with and without their backgrounds, by LB14 and the identity."""
    for n in range(3):
        for folder, seed in (("transmission_layer", n), ("reflection_layer", 50 + n)):
            write_photo(tmp_path / "pairs" / folder / f"{n}.png", seed, 48, 64)
        background, reflection = (
            np.asarray(Image.open(tmp_path / f"pairs/{folder}/{n}.png"), dtype=np.float64)
            for folder in ("transmission_layer", "reflection_layer")
        )
        (tmp_path / "pairs/blended").mkdir(exist_ok=True)
        Image.fromarray((0.7 * background + 0.3 * reflection).astype(np.uint8)).save(
            tmp_path / f"pairs/blended/{n}.png"
        )
    pairs = ("benchmark=[folder]", "benchmark.folder.root=pairs", "protocol=[native,errnet]")
    outcome = command("eval", "name=tiny", *pairs, "removers=[lb14]", "device=cpu", "cases=1")
    assert outcome.status == 0, outcome.err
    return tmp_path / "evaluations/tiny"


def test_from_an_evaluation_to_a_page(evaluated: Path, command: Command, tmp_path: Path) -> None:
    outcome = command("report", "name=first", "evaluations=[evaluations/tiny]", 'question="Is it, then, better?"')
    assert outcome.status == 0 and outcome.err == "", outcome.err
    folder = tmp_path / "experiments/first"
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "report.html", "tables.md", "tables.tex", "metrics.json", "pairs.jpg"}
    assert all(f"experiments/first/{name}" in outcome.out for name in names)
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# Is it, then, better?\n")
    assert "crrn-eval name=tiny 'benchmark=[folder]'" in readme and "crrn-report name=first" in readme
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".jpg"]
    assert not any(str(tmp_path) in text for text in texts)
    assert not (tmp_path / "report.log").exists() and not (tmp_path / ".hydra").exists()

    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert (
        command("report", "name=first", "evaluations=[evaluations/tiny]", 'question="Is it, then, better?"').status == 0
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_remover_stands_beside_the_row_of_the_paper_that_it_is_given(
    evaluated: Path, command: Command, tmp_path: Path
) -> None:
    outcome = command("report", "name=ours", "evaluations=[evaluations/tiny]", "paper={lb14:CRRN}")
    assert outcome.status == 0, outcome.err
    readme = (tmp_path / "experiments/ours/README.md").read_text()
    assert "CRRN, here: lb14" in readme and "LB14, here" not in readme
    outcome = command("report", "name=ours", "evaluations=[evaluations/tiny]", "paper={lb14:CRN}")
    assert outcome.status == 1 and "CRN" in outcome.err


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("name=x",), "evaluations"),
        (("evaluations=[a]",), "name"),
        (("name=x", "evaluations=[nowhere]"), "nowhere"),
        (("name=x", "runs=[nowhere]"), "nowhere"),
        (("name=x", "evaluations=a"), "evaluations=[a]"),
        (("name=a/b", "runs=[a]"), "a/b"),
        (("name=x", "runs=[a]", "quality=lots"), "quality=lots"),
        (("name=x", "runs=[a]", "paper=CRRN"), "paper={LABEL:ROW}"),
        (("name=x", "+evaluation=[a]"), "evaluations?"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_wrong_setting_is_one_sentence(overrides: tuple[str, ...], says: str, command: Command) -> None:
    outcome = command("report", *overrides)
    assert outcome.status == 1 and says in outcome.err and len(outcome.err.splitlines()) == 1, outcome.err


@pytest.mark.browser
def test_a_browser_shows_it_on_a_phone(evaluated: Path, command: Command, tmp_path: Path) -> None:
    assert command("report", "name=first", "evaluations=[evaluations/tiny]").status == 0
    page = (tmp_path / "experiments/first/report.html").read_text()
    probe = """<script>addEventListener("load", () => {
      const range = document.querySelector(".compare input");
      range.value = 20; range.dispatchEvent(new Event("input"));
      const drawn = [...document.querySelectorAll("use")].filter(use => use.getBBox().width > 0).length;
      const foreign = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
      document.title = ["probe", document.documentElement.scrollWidth - innerWidth, drawn,
        document.querySelectorAll("use").length, foreign, range.parentElement.style.getPropertyValue("--at")].join(" ");
    });</script></body>"""
    (tmp_path / "probe.html").write_text(page.replace("</body>", probe))
    arguments = [*BROWSER_ARGUMENTS, f"--user-data-dir={tmp_path / 'browser'}"]
    done = subprocess.run(
        [str(BROWSER), *arguments, "--window-size=390,800", "--dump-dom", f"file://{tmp_path / 'probe.html'}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r"<title>probe (\S+) (\d+) (\d+) (\d+) (\S+)</title>", done.stdout)
    assert found, done.stdout[:500]
    overflow, drawn, pictures, foreign, at = found.groups()
    assert int(overflow) <= 0 and drawn == pictures and int(pictures) > 9 and foreign == "0" and at == "20%"
