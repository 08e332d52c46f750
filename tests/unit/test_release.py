"""Releases: the notes of a tag, and workflows that use no unpinned action and few rights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

CHANGELOG = """# Changelog

Text.

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added
- A thing, [linked](docs/a.md).

## [0.1.0] - 2026-11-01
- The first.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the script reads, of version 0.2.0."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/notes.py", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def notes(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / ".ci/notes.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_notes_are_the_tags_section(checkout: Path) -> None:
    assert notes(checkout, "v0.2.0").stdout == "### Added\n- A thing, [linked](docs/a.md).\n"
    for file in ("pyproject.toml", "CITATION.cff"):
        (checkout / file).write_text((checkout / file).read_text().replace("0.2.0", "0.1.0"))
    assert notes(checkout, "v0.1.0").stdout == "- The first.\n"


@pytest.mark.parametrize(
    ("tag", "file", "said"),
    [
        ("v0.3.0", None, "The tag is v0.3.0, but pyproject.toml has version 0.2.0"),
        ("v0.2.0", "CITATION.cff", "The tag is v0.2.0, but CITATION.cff has version 0.9.0"),
        ("v0.2.0", "CHANGELOG.md", "CHANGELOG.md has no notes under ## [0.2.0]"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(checkout: Path, tag: str, file: str | None, said: str) -> None:
    if file:
        (checkout / file).write_text((checkout / file).read_text().replace("0.2.0", "0.9.0"))
    done = notes(checkout, tag)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith(f"error: {said}")


def test_the_versions_of_this_checkout_agree() -> None:
    version = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version == re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_few(workflow: Path) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+|pypa/gh-action-pypi-publish@release/v1", name) for name in used)
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    # what a stranger can name, as a branch or a tag, stands in no shell command
    assert not any("${{" in step.get("run", "") for step in steps(workflow))


def test_only_the_publishing_jobs_of_a_release_may_write() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert jobs["publish"]["needs"] == "build" and jobs["publish"]["environment"]["name"] == "pypi"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["notes"]["needs"] == "publish" and jobs["notes"]["permissions"] == {"contents": "write"}
    assert [name for name, job in jobs.items() if job["permissions"].get("contents") == "write"] == ["notes"]
