"""What tests need that a machine may lack, and the tests that may be skipped for it.

Each skipped test is printed with its reason. With ``--expected-skips`` a skip that `EXPECTED` does not list fails the
run: a test that nobody misses is no test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

SHARED_DATA = Path(os.environ.get("CRRN_SHARED_DATA", ROOT.parent / "shared" / "data"))
"""Images that are not part of the repository: ``ceilnet_synthetic/``, ``ceilnet_real/`` and ``pairs/``."""

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

BROWSER_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # root may not use it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

MISSING = {
    "browser": "no Chromium is installed (Debian: apt-get install chromium)",
    "compiler": "there is no C++ compiler (Debian: apt-get install g++)",
    "gpu": "PyTorch finds no CUDA device",
    "shared data": f"there is no folder {SHARED_DATA}; CRRN_SHARED_DATA names another",
}
"""Resource -> what a skip says where it is missing."""

EXPECTED = {
    "compiler": ("tests/unit/training/test_objective.py::test_the_compiler_itself",),
    "gpu": (
        "tests/unit/metrics/test_structure.py::test_each_is_a_metric_of_batches_on_any_device[[]*-cuda]",
        "tests/gpu/test_gpu.py::test_fifty_steps_never_wait[[]gpu-*]",
        "tests/gpu/test_gpu.py::test_the_suite_for_gpus",
        "tests/gpu/test_gpu.py::test_cuts_are_those_of_the_host[[]cuda]",
        "tests/gpu/test_gpu.py::test_a_fused_step_is_left_out_on_the_device[[]cuda]",
        "tests/gpu/test_gpu.py::test_a_reading_keeps_what_was_there_while_the_device_goes_on[[]cuda]",
    ),
    "shared data": (
        "tests/integration/test_prepare.py::test_real_sets_are_sound",
        "tests/unit/data/preparation/test_alignment.py::test_real_pairs_are_measured_as_by_others",
        "tests/unit/metrics/test_protocols.py::*[[]*smooth-3*]",
    ),
}
"""Resource -> patterns of the ids of the tests that are skipped without it. Continuous integration has all others."""


def require(resource: str, there: bool) -> None:
    """Skips the test that runs, or the file that is collected, unless a resource is there."""
    if not there:
        pytest.skip(f"{resource}: {MISSING[resource]}", allow_module_level=True)


def require_marked(item: pytest.Item) -> None:
    """Skips a test with the marker ``browser`` or ``gpu`` where that is missing."""
    if item.get_closest_marker("browser"):
        require("browser", BROWSER is not None)
    if item.get_closest_marker("gpu"):
        require("gpu", torch.cuda.is_available())


def expected(test: str, reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    return any(
        reason.startswith(f"{resource}: ") and any(fnmatchcase(test, pattern) for pattern in patterns)
        for resource, patterns in EXPECTED.items()
    )


def skips(reports: Iterable[Any]) -> dict[str, str]:
    """The reason of each skip, by the id of the test or file."""
    reasons = {}
    for report in reports:
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[report.nodeid] = said.removeprefix("Skipped: ")
    return dict(sorted(reasons.items()))
