"""The documentation: it builds without a warning and without a network, and each page is made alike."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")


def test_docs_build_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-d", str(tmp_path / "cache")]
    built = subprocess.run(
        [*command, "docs", str(tmp_path / "site")], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert built.returncode == 0, built.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="(https?:)?//', page.read_text())
        assert loaded == [], f"{page.name} loads something from another server"
