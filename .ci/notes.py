#!/usr/bin/env python3
"""Prints what CHANGELOG.md says of a release: ``.ci/notes.py v0.1.0``. Refuses a tag that does not fit the files."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(changelog: str, version: str) -> str:
    """The section of a version, without its heading; "" where there is none."""
    sections = re.split(r"^## \[([^\]]+)\].*\n", changelog, flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True)).get(version, "").strip()


def main(root: Path, tag: str) -> str:
    """The notes of a tag.

    Raises:
        SystemExit: pyproject.toml or CITATION.cff has another version, or CHANGELOG.md has no notes of it.
    """
    version = tag.removeprefix("v")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cited = re.findall(r"^version: (.+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for file, found in (("pyproject.toml", project), ("CITATION.cff", *cited)):
        if found != version:
            sys.exit(f"error: The tag is {tag}, but {file} has version {found}: set both to the same version.")
    found = notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not found:
        sys.exit(f"error: CHANGELOG.md has no notes under ## [{version}]: give [Unreleased] that name and a date.")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: Give the tag: .ci/notes.py v0.1.0")
    print(main(ROOT, sys.argv[1]))
