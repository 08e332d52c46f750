"""The benchmark command with every suite at toy size: that it works, not how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from crrn.cli.config import config_folder
from tests.integration.conftest import ROOT, Command, Outcome

SUITES = sorted(path.stem for path in (ROOT / "conf" / "suite").glob("*.yaml"))
RunBench = Callable[..., Outcome]


@pytest.fixture
def bench(command: Command) -> RunBench:
    """Runs ``crrn-bench`` in this process, at toy size, with its output in ``out``."""
    return partial(command, "bench", "toy=true", "repetitions=3", "seconds=0.001", "output=out")


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_runs(bench: RunBench, tmp_path: Path, suite: str):
    done = bench(f"suite=[{suite}]")
    assert done.status == 0, done.err
    lines = json.loads((tmp_path / "out" / "metrics.json").read_text())["lines"]
    assert lines and {line["suite"] for line in lines} == {suite}
    assert len({(line["title"], line["contestant"]) for line in lines}) == len(lines)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"suite=[{suite}]" in readme.splitlines()[3]
    assert all(line["title"] in readme for line in lines)


def test_the_command_runs_every_suite_by_default_but_the_slowest_and_that_for_gpus():
    listed = OmegaConf.load(config_folder() / "bench.yaml").defaults[0].suite
    assert sorted([*listed, "gpu", "solvers"]) == SUITES


def test_the_suite_for_gpus_needs_one(bench: RunBench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = bench("suite=[gpu]", "toy=false")
    assert done.status == 1 and "Traceback" not in done.err
    assert "suite=[gpu] needs a GPU" in done.err and "toy=true" in done.err


@pytest.mark.slow
def test_the_suite_for_gpus_has_each_setting_with_and_without(bench: RunBench, tmp_path: Path):
    assert bench("suite=[gpu]").status == 0
    lines = json.loads((tmp_path / "out" / "metrics.json").read_text())["lines"]
    raced = {line["contestant"] for line in lines} - {None}
    assert raced == {
        *("trainer=gpu", "trainer.precision=32-true", "channels_last=false", "optimizer.fused=false", "tf32=false"),
        *("compile=true", "no cache", "cache=true", "cache=device"),
    }
    titles = [line["title"] for line in lines if line["contestant"] is None]
    for cache in ("no cache", "cache=true", "cache=device"):
        assert any(title.endswith(f"32x48, {cache}: waiting for photos") for title in titles)


@pytest.mark.slow
def test_compared_with_itself(bench: RunBench):
    assert bench("suite=[input]").status == 0
    done = bench("suite=[input]", "compare=out", "output=again")
    assert done.status == 0 and "compared with out" in done.out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("suite=[]", "suite"),
        ("repetition=3", "repetition"),
        ("+suite.input.batches=3", "suite.input.batches"),
        ("+suite.input.toy.batches=3", "suite.input.toy.batches"),
        ("suite.input.toy.sizes=[7]", "suite.input.sizes: '7'"),
        ("repetitions=0", "repetitions=0"),
        ("threads=0", "threads=0"),
        ("compare=missing.json", "compare=missing.json"),
        ("suite.input.photos=missing", "missing"),
    ],
)
def test_mistakes_are_one_sentence(bench: RunBench, override: str, message: str):
    suites = () if override == "suite=[]" else ("suite=[input]",)
    done = bench(*suites, override)
    assert done.status == 1 and message in done.err and "Traceback" not in done.err


def test_help_is_light():
    script = (
        "import sys; sys.argv = ['crrn-bench', '--help']\n"
        "from crrn.cli.bench import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "suite" in done.stdout
