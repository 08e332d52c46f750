"""What an evaluation keeps in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.data.benchmarks import Case
from crrn.evaluation import runner
from crrn.evaluation.runner import AHEAD, Layered, decoded


def test_only_a_few_cases_are_decoded_ahead_of_the_one_at_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[str] = []

    def reader(case: Case) -> Layered:
        read.append(case.name)
        return Layered(np.zeros((2, 2, 3), np.uint8), None, None, None)

    monkeypatch.setattr(runner, "read_case", reader)
    Image.new("RGB", (1024, 1024)).save(tmp_path / "small.png")
    Image.new("RGB", (1024, 1025)).save(tmp_path / "large.png")
    cases = [Case(str(number), "", tmp_path / "small.png") for number in range(50)]
    taken = []
    for case, get in decoded(cases):
        get()
        taken.append(case.name)
        assert len(read) <= len(taken) + AHEAD
    assert taken == [case.name for case in cases] and sorted(read) == sorted(taken)
    read.clear()
    for number, (_, get) in enumerate(decoded([Case(str(n), "", tmp_path / "large.png") for n in range(4)])):
        assert len(read) == number, "a large case is decoded when it is its turn"
        get()
