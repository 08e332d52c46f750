"""The files beside README.md: links lead somewhere, badges tell the truth, forms and hooks are well formed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
"""The versions of Python that crrn is tested with."""


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_links_lead_to_files_that_are_there(text: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text.read_text(encoding="utf-8"))
    files = [link for link in links if not link.startswith(("https://", "../../actions/"))]
    assert files and [link for link in files if not (ROOT / link).exists()] == []


def test_paths_that_contributors_are_told_of_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([\w./-]+/[\w./-]*|\w+\.\w+)`", text) if "NAME" not in name]
    assert len(named) > 10
    assert [name for name in named if not any((ROOT / at / name).exists() for at in ("", "src/crrn/losses"))] == []
    house = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    folders = {folder for row in house for folder in re.findall(r"`(\w+)`", row)}
    there = {path.parent.name for path in (ROOT / "src/crrn").glob("*/__init__.py")}
    assert folders == there - {"bench"}


def test_badges_tell_the_truth() -> None:
    badges = dict(re.findall(r"^\[!\[([^\]]+)\]\(([^)]+)\)\]", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert re.findall(r"3\.\d+", badges[f"Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}"]) == PYTHONS
    assert PROJECT["license"] in badges["Licence: MIT"] and "MIT License" in (ROOT / "LICENSE").read_text()
    assert (ROOT / ".github/workflows" / re.findall(r"[\w-]+\.yml", badges["CI"])[0]).is_file()


def test_the_versions_of_python_agree() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["ci"]["strategy"]["matrix"]["python"] == PYTHONS
    assert f"Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}" in (ROOT / "docs/quickstart.md").read_text()
    lowest, highest = re.findall(r"\(3, (\d+)\)", (ROOT / "Makefile").read_text())
    assert PROJECT["requires-python"] == f">=3.{lowest},<3.{int(highest) + 1}"


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_forms_ask_for_what_helps(form: Path) -> None:
    asked = yaml.safe_load(form.read_text())
    fields = [field for field in asked["body"] if field["type"] != "markdown"]
    assert asked["name"] and asked["description"] and len({field["id"] for field in fields}) == len(fields)
    assert fields[0]["validations"]["required"]


def test_commits_are_checked_by_the_programs_of_the_environment() -> None:
    (local,) = (
        one for one in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"] if one["repo"] == "local"
    )
    checks = re.findall(r"\$\(VENV\)/bin/(ruff \w+|mypy)", (ROOT / "Makefile").read_text())
    assert [hook["entry"].removeprefix(".venv/bin/").removesuffix(" --fix") for hook in local["hooks"]] == checks
