"""The folder: one page that needs nothing else, tables that are tables, the same bytes each time."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import crrn.evaluation.report.write
from crrn.errors import ConfigError, RunError
from crrn.evaluation.report.content import gather
from crrn.evaluation.report.html import page as page_of
from crrn.evaluation.report.latex import escape
from crrn.evaluation.report.write import write_report

VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced; gathers references, ids and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


@pytest.fixture
def report(make_evaluation: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path) -> Path:
    folders = [make_evaluation("first"), make_evaluation("real", "photos", ["photos"], truth=False)]
    question = 'Is <b>"ours"</b> & theirs better?'
    content = gather("x", folders, [make_run()], question=question, answer="Yes.\nNo.", command="python -m src.report")
    write_report(tmp_path / "experiments/x", content)
    return tmp_path / "experiments/x"


def test_the_page_needs_nothing_else(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Page(text)
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    pictures = 0
    for reference in page.values("href", "src"):
        if reference.startswith("#"):
            assert reference[1:] in ids
        else:
            head, _, data = reference.partition(",")
            assert head == "data:image/jpeg;base64"
            Image.open(io.BytesIO(base64.b64decode(data))).verify()
            pictures += 1
    assert pictures == 3 * 4 + 3 * 3 + 1  # mixture, two removers, truth; the same without truth; the run's panel
    plain = re.sub(r"data:[^\"]*", "", text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|srcset", plain)
    assert "default-src 'none'" in plain
    assert "Is &lt;b&gt;&#34;ours&#34;&lt;/b&gt; &amp; theirs better?" in plain and '<b>"ours"' not in plain


STRANGE = """"'><u title=x>_&amp;{{ 7 * 7 }}"""
"""A name that would be a tag, an attribute's end, an entity or a template's expression, if it were not escaped."""


def test_names_of_strangers_are_text(
    make_evaluation: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    removers = {"identity": "identity", STRANGE: "lb14"}
    folders = [
        make_evaluation(STRANGE, STRANGE, [STRANGE], removers),
        make_evaluation("second", STRANGE, [STRANGE], removers, truth=False),
    ]
    content = gather(
        STRANGE, folders, [make_run(STRANGE)], question=STRANGE, answer=f"{STRANGE}\n{STRANGE}", command=STRANGE
    )
    text = page_of(content)

    page = Page(text)
    assert "u" not in page.tags and "x" not in page.values("title")
    assert page.text.count(STRANGE) > 30 and "49" not in {word.strip("_&;") for word in page.text.split()}
    assert any(STRANGE in label for label in page.values("aria-label"))
    assert any(STRANGE in label for label in page.values("alt"))


def test_only_charts_are_inserted_as_they_are() -> None:
    templates = Path(crrn.evaluation.report.write.__file__).with_name("templates")
    sources = "".join(path.read_text() for path in sorted(templates.glob("*.html")))
    assert re.findall(r"{{[^}]*\bsafe\b[^}]*}}", sources) == ["{{ chart | safe }}"]
    assert "autoescape" not in sources  # nowhere turned off


def test_the_folder_says_where_its_numbers_come_from(report: Path) -> None:
    readme = (report / "README.md").read_text()
    assert readme.startswith('# Is <b>"ours"</b> & theirs better?')
    for line in ("python -m src.train name=ours", "python -m src.eval name=x 'removers=[lb14,runs/ours]'"):
        assert line in readme
    assert "ffffffffffffffff" in readme and "wildscene 55 or 100 or 101" in readme
    assert "with uncommitted changes" in readme and "](sir2.jpg)" in readme
    metrics = json.loads((report / "metrics.json").read_text())
    assert (
        set(metrics["evaluations"]) == {"first", "real"}
        and metrics["runs"]["ours"]["metrics"]["val/background_ssim"] == 0.8
    )
    assert set(metrics["files"]) == {path.name for path in report.iterdir()}


def test_the_tables_hold_the_evaluations_numbers(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    tables = (report / "tables.md").read_text()
    for result in metrics["evaluations"]["first"]["results"]:
        for entry in result["removers"].values():
            value = entry["metrics"]["ssim"]
            assert f"{value['mean']:.4f} ± {(value['high'] - value['low']) / 2:.4f}" in tables
    assert "paired differences" in tables and "subsets" in tables
    for block in re.findall(r"(?:^\|.*\n)+", tables, re.MULTILINE):
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_latex_is_balanced_and_escaped(report: Path) -> None:
    tex = (report / "tables.tex").read_text()
    for environment in ("table", "tabular"):
        assert tex.count(rf"\begin{{{environment}}}") == tex.count(rf"\end{{{environment}}}") > 5
    bare = tex.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[±−–↑↓×]|(?<!\\)[_#%](?! needs)", tex.replace("label{tab:", ""))
    bodies = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", tex, re.DOTALL)
    assert len(bodies) == tex.count(r"\begin{tabular}")
    for columns, body in bodies:
        for line in (line for line in body.splitlines() if line.endswith(r"\\")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    assert escape("50 % of a_b & -0.5") == r"50 \% of a\_b \& $-$0.5"
    assert escape("|B − I|") == r"$|$B $-$ I$|$"


def test_the_same_matter_gives_the_same_bytes(
    report: Path, make_evaluation: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_evaluation("again")

    def write() -> dict[str, bytes]:
        write_report(tmp_path / "experiments/y", gather("y", [folder], [], command="c"))
        return {path.name: path.read_bytes() for path in (tmp_path / "experiments/y").iterdir()}

    first = write()
    assert write() == first and "sir2.jpg" in first


def test_reading_changes_nothing(make_evaluation: Callable[..., Path], make_run: Callable[..., Path]) -> None:
    folders = [make_evaluation(), make_run()]

    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}

    before = state()
    gather("x", folders[:1], folders[1:])
    assert state() == before


def test_another_report_replaces_what_a_report_wrote_and_nothing_else(
    report: Path, make_evaluation: Callable[..., Path]
) -> None:
    content = gather("x", [make_evaluation("other", "real20", ["real20"])], [])
    write_report(report, content)
    assert not (report / "sir2.jpg").exists() and (report / "real20.jpg").exists()
    (report / "notes.txt").write_text("mine")
    before = (report / "README.md").read_bytes()
    with pytest.raises(RunError, match=r"notes\.txt"):
        write_report(report, gather("x", [make_evaluation("third")], []))
    assert (report / "README.md").read_bytes() == before and (report / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("writes", [0, 1, 4, 6])
def test_a_killed_report_can_be_written_again(
    report: Path, make_evaluation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    content = gather("x", [make_evaluation("other", "real20", ["real20"])], [])
    write = crrn.evaluation.report.write._write
    left = [None] * writes

    def killed(path: Path, written: bytes) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, written)

    monkeypatch.setattr(crrn.evaluation.report.write, "_write", killed)
    for folder in (report, report.parent / "new"):
        left[:] = [None] * writes
        with pytest.raises(KeyboardInterrupt):
            write_report(folder, content)
    monkeypatch.undo()
    for folder in (report, report.parent / "new"):
        write_report(folder, content)
        names = {path.name for path in folder.iterdir()}
        assert names == {"README.md", "report.html", "tables.md", "tables.tex", "metrics.json", "real20.jpg"}
        assert set(json.loads((folder / "metrics.json").read_text())["files"]) == names


def test_runs_alone_make_a_report(make_run: Callable[..., Path], tmp_path: Path) -> None:
    content = gather("x", [], [make_run("a"), make_run("b", "l1_only")])
    write_report(tmp_path / "x", content)
    page = (tmp_path / "x/report.html").read_text()
    Page(page)
    assert "Training loss" in page and "ablation l1_only" in page and "At a glance" not in page


def test_two_evaluations_of_one_benchmark_are_told_apart(make_evaluation: Callable[..., Path], tmp_path: Path) -> None:
    content = gather("x", [make_evaluation("first"), make_evaluation("second")], [])
    titles = [grid.title for grid in content.all_grids()]
    assert len(set(titles)) == len(titles) > 10
    write_report(tmp_path / "x", content)
    assert len(list((tmp_path / "x").glob("*.jpg"))) == 2


def test_what_cannot_be_reported_is_one_sentence(
    make_evaluation: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="evaluations="):
        gather("x", [], [])
    with pytest.raises(RunError, match="nowhere"):
        gather("x", [tmp_path / "nowhere"], [])
    with pytest.raises(RunError, match="nowhere"):
        gather("x", [], [tmp_path / "nowhere"])
    with pytest.raises(RunError, match=r"half\b.*summary\.json"):
        gather("x", [], [make_run("half", finished=False)])
    folder = make_evaluation()
    with pytest.raises(ConfigError, match="first"):
        gather("x", [folder, folder], [])
    rows = (folder / "images/sir2/errnet/ours.csv").read_text().splitlines(keepends=True)
    (folder / "images/sir2/errnet/ours.csv").write_text("".join(rows[:-2]))
    with pytest.raises(RunError, match=r"ours .*4 of the 6 .*sir2 .*errnet.* name=x"):
        gather("x", [folder], [])
    (make_evaluation("bare") / "cases/sir2/postcard/1/ours.png").unlink()
    with pytest.raises(RunError, match=r"ours\.png"):
        gather("x", [tmp_path / "evaluations/bare"], [])


def test_the_worst_the_middle_and_the_best_are_shown(make_evaluation: Callable[..., Path]) -> None:
    folder = make_evaluation(images=1)
    cases = folder / "cases/sir2"
    listed = json.loads((cases / "cases.json").read_text())[:1]
    for kind in ("worst", "median", "best"):
        for n in range(3):
            shutil.copytree(cases / listed[0]["case"], cases / f"{kind}{n}")
    entries = [{**listed[0], "case": f"{k}{n}", "kind": k} for k in ("worst", "median", "best") for n in range(3)]
    (cases / "cases.json").write_text(json.dumps(entries))
    shown = {
        count: [panel.case for panel in gather("x", [folder], [], pictures=count).panels] for count in (0, 1, 3, 5)
    }
    assert shown == {
        0: [],
        1: ["worst0"],
        3: ["worst0", "median1", "best2"],
        5: ["worst0", "worst1", "median0", "median1", "best2"],
    }


def test_gains_and_harm_stand_beside_the_means(make_evaluation: Callable[..., Path]) -> None:
    content = gather("x", [make_evaluation()], [])
    (grids,) = content.overviews.values()
    titles = [grid.title for grid in grids]
    assert titles == [
        "sir2: PSNR (dB) ↑",
        "sir2: SSIM ↑",
        "sir2: PSNR gain (dB) ↑",
        "sir2: matched PSNR gain (dB) ↑",
        "sir2: harm rate ↓",
    ]
    assert grids[0].head == ["protocol", "identity", "lb14", "ours"] and grids[2].head == ["protocol", "lb14", "ours"]
    (evaluated,) = content.evaluations
    for result, row in zip(evaluated.results, grids[4].rows, strict=True):
        rates = [result["removers"][label]["metrics"]["harm_rate"]["mean"] for label in ("lb14", "ours")]
        assert row == [result["protocol"], *(f"{rate:.3f}" for rate in rates)]
    assert any("gain over the identity" in grid.title for grid in content.all_grids())
    (charts,) = content.gains.values()
    assert len(charts) == 3 and "after colour match" in charts[2]


def test_a_run_shows_its_gains_on_mixtures_and_pairs(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"val/matched_gain_psnr": 0.31, "pairs/background_psnr": 21.5, "pairs/harm_rate": 0.25}
    (folder / "summary.json").write_text(json.dumps(summary))
    grid = gather("x", [], [folder]).runs_grid
    assert grid is not None
    shown = dict(zip(grid.head, grid.rows[0], strict=True))
    assert shown["matched PSNR gain (dB)"] == "0.31" and shown["pairs: B PSNR (dB)"] == "21.50"
    assert shown["pairs: harm rate"] == "0.250"
