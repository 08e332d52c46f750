"""What all tests share: seeds, and photos that are tiny, made on the spot, no two alike."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.resources import SHARED_DATA, expected, require, require_marked, skips


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--expected-skips",
        action="store_true",
        help="fail where a test is skipped that tests/resources.py does not list",
    )
    parser.addoption("--screenshots", metavar="DIR", help="keep the pictures of the web page in this folder")


def pytest_runtest_setup(item: pytest.Item) -> None:
    require_marked(item)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run where a skip is not expected; on the process that prints the summary."""
    summary = session.config.pluginmanager.get_plugin("terminalreporter")
    if summary is None or not session.config.getoption("expected_skips"):
        return
    found = skips(summary.stats.get("skipped", ()))
    if session.exitstatus == pytest.ExitCode.OK and not all(expected(*skip) for skip in found.items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each skip: its test, its reason, and whether it is expected."""
    found = skips(terminalreporter.stats.get("skipped", ()))
    if found:
        terminalreporter.section("skips")
        for test, reason in found.items():
            terminalreporter.line(f"{'expected' if expected(test, reason) else 'UNEXPECTED'} {test}: {reason}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of images that are not part of the repository."""
    require("shared data", SHARED_DATA.is_dir())
    return SHARED_DATA


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks and images that a test draws are the same in every run."""
    torch.manual_seed(2018)


@pytest.fixture(autouse=True)
def untraced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the tracer of --cov from Hydra, which would take it for a debugger and raise errors with a traceback."""
    if request.config.pluginmanager.hasplugin("_cov"):
        monkeypatch.setattr(sys, "gettrace", lambda: None)


@pytest.fixture(autouse=True)
def levels_restored() -> Iterator[None]:
    """A command that a test ran in this process leaves no log silenced for the next test."""
    loggers = [logging.getLogger(name) for name in ("crrn", "crrn.bench")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def write_photo(path: Path, seed: int, height: int = 60, width: int = 80) -> None:
    """A JPEG of smooth colours and a few sharp boxes, so that there are gradients to learn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [
        0.5 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.5, 2) * x + rng.uniform(0.5, 2) * y + rng.uniform()))
        for _ in range(3)
    ]
    photo = np.stack(waves, axis=2)
    for _ in range(4):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        photo[top : top + rng.integers(4, 20), left : left + rng.integers(4, 20)] = rng.uniform(0, 1, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((photo.clip(0, 1) * 255).astype(np.uint8)).save(path, quality=92)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``background/`` (8 photos), ``reflection/`` (6 photos), and ``pairs/`` (3 scenes of 2 pairs)."""
    root = tmp_path_factory.mktemp("photos")
    for n in range(8):
        write_photo(root / "background" / f"b{n}.jpg", seed=n)
    for n in range(6):
        write_photo(root / "reflection" / f"r{n}.jpg", seed=100 + n)
    (root / "pairs" / "blended").mkdir(parents=True)
    for n in range(6):
        name = f"glass_{n // 2}_{n % 2}.jpg"
        write_photo(root / "pairs" / "transmission_layer" / name, seed=200 + n)
        with Image.open(root / "pairs" / "transmission_layer" / name) as background:
            background.point(lambda level: min(255, level + 30)).save(root / "pairs" / "blended" / name, quality=92)
    return root
