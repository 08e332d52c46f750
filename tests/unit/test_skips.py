"""Skips in a run of pytest of its own: which fail it, and what it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import resources
from tests.integration.conftest import ROOT, inherited

SKIPS = """
import pytest

@pytest.mark.browser
def test_browser():
    raise AssertionError

@pytest.mark.gpu
def test_gpu():
    raise AssertionError

def test_moody():
    pytest.skip("no mood")
"""


def run(folder: Path, content: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a file with the repository's conftest.py as a plugin, where neither Chromium nor a GPU is."""
    (folder / "test_it.py").write_text(content)
    environment = {**inherited(), "PYTHONPATH": str(ROOT), "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", "--expected-skips", *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_skips_that_are_not_expected_are_told_and_fail_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPS, "--numprocesses=2")
    for name, reason in {"browser": "browser: ", "gpu": "gpu: ", "moody": "no mood"}.items():
        assert f"UNEXPECTED test_it.py::test_{name}: {reason}" in done.stdout, done.stdout
    assert done.returncode == 1


def test_all_is_well_without_skips(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_runs(): pass")
    assert done.returncode == 0 and "UNEXPECTED" not in done.stdout, done.stdout


def test_the_test_and_the_resource_must_both_be_expected() -> None:
    test = "tests/integration/test_prepare.py::test_real_sets_are_sound"
    assert resources.expected(test, "shared data: it is not there")
    assert not resources.expected(test, "gpu: there is none")
    assert not resources.expected(test + "_too", "shared data: it is not there")
    assert resources.expected(
        "tests/unit/metrics/test_structure.py::test_each_is_a_metric_of_batches_on_any_device[ssim-cuda]", "gpu: none"
    )


def test_each_expected_skip_is_of_a_test_that_is_there() -> None:
    for pattern in (pattern for patterns in resources.EXPECTED.values() for pattern in patterns):
        file, _, name = pattern.partition("::")
        name = name.partition("[")[0]
        assert (ROOT / file).is_file() and ("*" in name or f"def {name}(" in (ROOT / file).read_text())
